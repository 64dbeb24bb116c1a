//! A profile in pprof's format: `profile.proto` of github.com/google/pprof, as much of it as is needed.

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use pprof::{Report, Symbol};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// Writes a report down.
pub(super) fn encode(report: &Report) -> Vec<u8> {
    let mut writer = Writer::default();
    // Its first entry is always the empty one.
    writer.string("");
    let nanos_per_look = 1_000_000_000 / i64::from(report.timing.frequency.max(1));
    let (samples, count) = (writer.string("samples"), writer.string("count"));
    let (cpu, nanoseconds) = (writer.string("cpu"), writer.string("nanoseconds"));
    let thread = writer.string("thread");
    for (stack, looks) in &report.data {
        let looks = i64::try_from(*looks).unwrap_or(i64::MAX);
        // Innermost first, and an inlined function before the one that it is part of.
        let location_id = stack.frames.iter().map(|frame| writer.location(frame)).collect();
        let label = vec![Label { key: thread, str: writer.string(&stack.thread_name) }];
        let value = vec![looks, looks.saturating_mul(nanos_per_look)];
        writer.profile.sample.push(Sample { location_id, value, label });
    }
    let cpu_time = ValueType { r#type: cpu, unit: nanoseconds };
    let began = report.timing.start_time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let profile = &mut writer.profile;
    profile.sample_type = vec![ValueType { r#type: samples, unit: count }, cpu_time];
    profile.time_nanos = i64::try_from(began.as_nanos()).unwrap_or_default();
    profile.duration_nanos = i64::try_from(report.timing.duration.as_nanos()).unwrap_or_default();
    profile.period_type = Some(cpu_time);
    profile.period = nanos_per_look;
    profile.encode_to_vec()
}

#[derive(Default)]
struct Writer {
    profile: Profile,
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<Vec<(u64, i64)>, u64>,
}

impl Writer {
    fn string(&mut self, text: &str) -> i64 {
        if let Some(known) = self.strings.get(text) {
            return *known;
        }
        let number = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), number);
        number
    }

    fn function(&mut self, symbol: &Symbol) -> u64 {
        let (name, filename) = (self.string(&symbol.name()), self.string(&symbol.filename()));
        let system_name = self.string(&symbol.sys_name());
        let next = self.profile.function.len() as u64 + 1;
        let id = *self.functions.entry((system_name, filename)).or_insert(next);
        if id == next {
            self.profile.function.push(Function { id, name, system_name, filename });
        }
        id
    }

    fn location(&mut self, frame: &[Symbol]) -> u64 {
        let lines: Vec<_> =
            frame.iter().map(|symbol| (self.function(symbol), i64::from(symbol.lineno()))).collect();
        let next = self.profile.location.len() as u64 + 1;
        let id = *self.locations.entry(lines.clone()).or_insert(next);
        if id == next {
            let line = lines.into_iter().map(|(function_id, line)| Line { function_id, line }).collect();
            self.profile.location.push(Location { id, line });
        }
        id
    }
}
