//! The metrics of a node: what is counted, and whom to ask for the rest.

use std::sync::Arc;

use tracing::Span;

use super::catalogue::{Kind, Metric};
use super::cells::Cells;
use super::exposition;
use super::process;
use super::traces;
use crate::application::ports::telemetry::labels::Label;
use crate::application::ports::telemetry::measure::{Gauges, Measure};
use crate::application::ports::telemetry::occurrence::{Occurrence, Telemetry};
use crate::application::trace::TraceContext;
use crate::session::reader::Resume;

/// The metrics of one node.
#[derive(Default)]
pub struct Metrics {
    cells: Cells,
}

/// A metric's series and what each of them is now; a series that nobody knows of is left out.
pub(super) type Asked = Vec<Option<f64>>;

impl Metrics {
    /// Everything in Prometheus's text format 0.0.4: what was counted, and what the sources tell.
    ///
    /// # Errors
    /// When a metric can't be written.
    pub fn to_text(&self, sources: &[Arc<dyn Gauges>]) -> Result<String, prometheus::Error> {
        let mut asked = vec![Asked::new(); Metric::ALL.len()];
        for metric in Metric::ALL.iter().filter(|metric| metric.kind() != Kind::Histogram) {
            let series = metric.labels().iter().map(|label| label.values.len()).product();
            asked[*metric as usize] = vec![None; series];
        }
        asked[Metric::BuildInfo as usize][0] = Some(1.0);
        let mut note = |measure, value: f64| {
            let (metric, series) = series_of(measure);
            if let Some(known) = asked[metric as usize].get_mut(series) {
                *known = Some(known.unwrap_or_default() + value);
            }
        };
        for source in sources {
            source.measure(&mut note);
        }
        exposition::write(&self.cells, &asked, process::read())
    }
}

/// The metric that tells a measure, and the number of its series.
fn series_of(measure: Measure) -> (Metric, usize) {
    match measure {
        Measure::Connections(transport) => (Metric::Connections, transport.number()),
        Measure::Sockets => (Metric::Sockets, 0),
        Measure::SocketsMax => (Metric::SocketsMax, 0),
        Measure::Sessions(state) => (Metric::Sessions, state.number()),
        Measure::QueueEvents => (Metric::QueueEvents, 0),
        Measure::QueueBytes => (Metric::QueueBytes, 0),
        Measure::QueueOldestAge => (Metric::QueueOldestAge, 0),
        Measure::Feeds => (Metric::Feeds, 0),
        Measure::BusProbeAge => (Metric::BusProbeAge, 0),
        Measure::BusLag => (Metric::BusLag, 0),
        Measure::StoreCircuitOpen => (Metric::StoreCircuitOpen, 0),
        Measure::JwksFetches(outcome) => (Metric::JwksFetches, outcome.number()),
        Measure::JwksKeys => (Metric::JwksKeys, 0),
        Measure::JwksAge => (Metric::JwksAge, 0),
        Measure::Draining => (Metric::Draining, 0),
        Measure::Tasks => (Metric::Tasks, 0),
    }
}

impl Telemetry for Metrics {
    fn record(&self, occurrence: Occurrence) {
        let cells = &self.cells;
        match occurrence {
            Occurrence::Delivered { transport, events, bytes } => {
                cells.add_one(Metric::Deliveries, transport.number(), events);
                cells.add_one(Metric::SentBytes, transport.number(), bytes);
            }
            Occurrence::DeliveryLatency(took) => cells.observe(Metric::DeliveryLatency, 0, took),
            Occurrence::CommitLatency(took) => cells.observe(Metric::CommitLatency, 0, took),
            Occurrence::Received(bytes) => cells.add(Metric::ReceivedBytes, bytes),
            Occurrence::PayloadSkipped(why) => cells.add_one(Metric::BusPayloadsSkipped, why.number(), 1),
            Occurrence::Repaired(why) => cells.add_one(Metric::BusRepairs, why.number(), 1),
            Occurrence::GapTold(why) => cells.add_one(Metric::Gaps, why.number(), 1),
            Occurrence::Spilled => cells.add(Metric::Spills, 1),
            Occurrence::EphemeralDropped => cells.add(Metric::EphemeralsDropped, 1),
            Occurrence::Attached(transport, resume) => {
                cells.add_two(Metric::Attaches, (transport.number(), resume.number()), 1);
                if resume != Resume::New {
                    cells.add_one(Metric::Resumes, resume.number(), 1);
                }
            }
            Occurrence::AttachRefused(transport, code) => {
                let outcome = Resume::ALL.len() + code.number();
                cells.add_two(Metric::Attaches, (transport.number(), outcome), 1);
            }
            Occurrence::Command(kind, code) => {
                let code = code.map_or(0, |code| code.number() + 1);
                cells.add_two(Metric::Commands, (kind.number(), code), 1);
            }
            Occurrence::StoreCall { method, code, took } => {
                cells.add_two(Metric::StoreCalls, (method.number(), code.number()), 1);
                cells.observe(Metric::StoreCallTime, method.number(), took);
            }
            Occurrence::LifecycleDropped => cells.add(Metric::LifecycleDropped, 1),
            Occurrence::LimitHit(limit) => cells.add_one(Metric::LimitsHit, limit.number(), 1),
        }
    }

    fn adopt(&self, span: &Span, trace: TraceContext) {
        traces::adopt(span, trace);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::application::ports::telemetry::labels::{CommandType, SessionState, StoreCode, StoreMethod};
    use crate::domain::error::ErrorCode;
    use crate::session::reader::Transport;

    struct Fixed;

    impl Gauges for Fixed {
        fn measure(&self, note: &mut dyn FnMut(Measure, f64)) {
            note(Measure::Sessions(SessionState::Detached), 2.0);
            note(Measure::QueueOldestAge, 0.25);
        }
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|it| it == line), "no line {line} in\n{text}");
    }

    #[test]
    fn what_is_recorded_stands_in_the_series_of_its_labels() {
        let metrics = Metrics::default();
        metrics.record(Occurrence::Delivered { transport: Transport::Sse, events: 3, bytes: 120 });
        metrics.record(Occurrence::Attached(Transport::Poll, Resume::Rebuilt));
        metrics.record(Occurrence::AttachRefused(Transport::WebSocket, ErrorCode::StaleAttach));
        metrics.record(Occurrence::Command(CommandType::SendMessage, None));
        metrics.record(Occurrence::Command(CommandType::Unknown, Some(ErrorCode::UnknownType)));
        let (method, code) = (StoreMethod::GetHistory, StoreCode::Unauthenticated);
        metrics.record(Occurrence::StoreCall { method, code, took: Duration::from_millis(3) });
        let text = metrics.to_text(&[]).unwrap();
        for line in [
            "edgeway_deliveries_total{transport=\"sse\"} 3",
            "edgeway_deliveries_total{transport=\"ws\"} 0",
            "edgeway_sent_bytes_total{transport=\"sse\"} 120",
            "edgeway_attaches_total{outcome=\"rebuilt\",transport=\"poll\"} 1",
            "edgeway_resumes_total{outcome=\"rebuilt\"} 1",
            "edgeway_attaches_total{outcome=\"stale_attach\",transport=\"ws\"} 1",
            "edgeway_commands_total{code=\"ok\",type=\"send_message\"} 1",
            "edgeway_commands_total{code=\"unknown_type\",type=\"unknown\"} 1",
            "edgeway_store_calls_total{code=\"unauthenticated\",method=\"GetHistory\"} 1",
            "edgeway_store_call_seconds_bucket{method=\"GetHistory\",le=\"0.0025\"} 0",
            "edgeway_store_call_seconds_bucket{method=\"GetHistory\",le=\"0.005\"} 1",
            "edgeway_store_call_seconds_bucket{method=\"GetHistory\",le=\"+Inf\"} 1",
            "edgeway_store_call_seconds_sum{method=\"GetHistory\"} 0.003",
            "edgeway_store_call_seconds_count{method=\"GetHistory\"} 1",
        ] {
            has(&text, line);
        }
    }

    #[test]
    fn what_two_sources_tell_is_added_up_and_what_none_tells_is_left_out() {
        let metrics = Metrics::default();
        let text = metrics.to_text(&[Arc::new(Fixed), Arc::new(Fixed)]).unwrap();
        has(&text, "edgeway_sessions{state=\"detached\"} 4");
        has(&text, "edgeway_queue_oldest_age_seconds 0.5");
        assert!(!text.contains("edgeway_jwks_age_seconds"), "{text}");
    }
}
