//! The fuzz targets of `fuzz/`, on every run of the tests: over the corpus, and over inputs made from it by chance. What a
//! long run finds goes into the corpus and so comes back for ever.

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod targets;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use crate::corpus;
    use crate::targets;

    const CASES: u32 = 3000;

    /// What a fuzzer does to an input, without its knowledge of where that leads.
    #[derive(Debug, Clone)]
    enum Change {
        Flip(usize, u8),
        Insert(usize, Vec<u8>),
        Cut(usize, usize),
        Repeat(usize, usize),
    }

    fn change() -> impl Strategy<Value = Change> {
        let telling = prop_oneof![
            Just(b"\"".to_vec()),
            Just(b"{".to_vec()),
            Just(b"\\u0000".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"99999999999999999999".to_vec()),
            Just(vec![0xff]),
            Just(vec![0xc0, 0x80]),
            Just(vec![0xed, 0xa0, 0x80]),
            proptest::collection::vec(any::<u8>(), 1..6),
        ];
        prop_oneof![
            (any::<usize>(), any::<u8>()).prop_map(|(at, to)| Change::Flip(at, to)),
            (any::<usize>(), telling).prop_map(|(at, what)| Change::Insert(at, what)),
            (any::<usize>(), 1..40usize).prop_map(|(at, len)| Change::Cut(at, len)),
            (any::<usize>(), 1..40usize).prop_map(|(at, len)| Change::Repeat(at, len)),
        ]
    }

    fn changed(mut input: Vec<u8>, changes: &[Change]) -> Vec<u8> {
        for change in changes {
            let len = input.len();
            match change {
                Change::Flip(at, to) if len > 0 => input[at % len] = *to,
                Change::Insert(at, what) => {
                    let at = at % (len + 1);
                    input.splice(at..at, what.iter().copied());
                }
                Change::Cut(at, by) if len > 0 => {
                    let at = at % len;
                    input.drain(at..(at + by).min(len));
                }
                Change::Repeat(at, by) if len > 0 => {
                    let at = at % len;
                    let piece = input[at..(at + by).min(len)].to_vec();
                    input.splice(at..at, piece);
                }
                Change::Flip(..) | Change::Cut(..) | Change::Repeat(..) => {}
            }
        }
        input
    }

    fn run(inputs: &[&[u8]], target: fn(&[u8])) {
        inputs.iter().for_each(|input| target(input));
        let from_corpus =
            proptest::sample::select(inputs.iter().map(|input| input.to_vec()).collect::<Vec<_>>());
        let inputs = prop_oneof![
            8 => (from_corpus, proptest::collection::vec(change(), 0..6))
                .prop_map(|(input, changes)| changed(input, &changes)),
            1 => proptest::collection::vec(any::<u8>(), 0..200),
        ];
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&inputs, |input| {
                target(&input);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn clients_json() {
        run(&corpus::COMMANDS, targets::clients_json);
    }

    #[test]
    fn cursors() {
        run(&corpus::CURSORS, targets::cursor);
    }

    #[test]
    fn payloads_of_live_channels() {
        run(&corpus::PAYLOADS, targets::live_payload);
    }

    #[test]
    fn events_of_logs_as_clients_see_them() {
        run(&corpus::EVENTS, targets::logged_event);
    }

    #[test]
    fn last_event_ids() {
        run(&corpus::EVENT_IDS, targets::last_event_id);
    }

    #[test]
    fn tokens() {
        run(&corpus::TOKENS, targets::token);
    }

    #[test]
    fn websocket_frames() {
        run(&corpus::FRAMES, targets::websocket_frames);
    }
}
