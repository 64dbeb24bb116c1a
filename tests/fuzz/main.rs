//! The fuzz targets of `fuzz/`, on every run of the tests: over the corpus, and over inputs made from it by chance. What a
//! long run finds goes into the corpus and so comes back for ever.

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod targets;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsString;
    use std::fs;
    use std::path::{Path, PathBuf};

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

    fn run(inputs: &[&[u8]], target: Target) {
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

    type Seeds = &'static [&'static [u8]];
    type Target = fn(&[u8]);

    /// All of them: name of the program in `fuzz/`, where it begins, what is fuzzed.
    const ALL: [(&str, Seeds, Target); 10] = [
        ("clients_json", &corpus::COMMANDS, targets::clients_json),
        ("cursor", &corpus::CURSORS, targets::cursor),
        ("live_payload", &corpus::PAYLOADS, targets::live_payload),
        ("logged_event", &corpus::EVENTS, targets::logged_event),
        ("streamed_event", &corpus::EVENTS, targets::streamed_event),
        ("last_event_id", &corpus::EVENT_IDS, targets::last_event_id),
        ("token", &corpus::TOKENS, targets::token),
        ("websocket_frames", &corpus::FRAMES, targets::websocket_frames),
        ("compressed_frames", &corpus::COMPRESSED_FRAMES, targets::compressed_frames),
        ("inflated", &corpus::DEFLATED, targets::inflated),
    ];
    /// If it is set, the seeds are written there, a folder for each program: `make fuzz` begins with them.
    const SEEDS_VARIABLE: &str = "EDGEWAY_FUZZ_SEEDS";

    macro_rules! fuzzed {
        ($($name:ident),* $(,)?) => {
            $(#[test] fn $name() {
                let (_, seeds, target) = ALL.iter().find(|(name, ..)| *name == stringify!($name)).unwrap();
                run(seeds, *target);
            })*
            const RUN: &[&str] = &[$(stringify!($name)),*];
        };
    }

    fuzzed! {
        clients_json, cursor, live_payload, logged_event, streamed_event, last_event_id, token, websocket_frames,
        compressed_frames, inflated,
    }

    /// A program that is missing on one side would be fuzzed on the other alone.
    #[test]
    fn every_program_is_run_here_too_and_begins_with_the_same_seeds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let programs: BTreeSet<_> = files.map(|path| path.file_stem().unwrap().to_owned()).collect();
        let manifest =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
        assert_eq!(programs, ALL.iter().map(|(name, ..)| OsString::from(name)).collect());
        assert_eq!(RUN, ALL.map(|(name, ..)| name));
        let temporary = tempfile::tempdir().unwrap();
        let seeds_at = std::env::var_os(SEEDS_VARIABLE).map_or(temporary.path().to_owned(), PathBuf::from);
        for (name, seeds, _) in ALL {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
            fs::create_dir_all(seeds_at.join(name)).unwrap();
            for (number, seed) in seeds.iter().enumerate() {
                fs::write(seeds_at.join(name).join(format!("seed-{number}")), seed).unwrap();
            }
        }
    }
}
