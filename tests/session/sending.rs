//! Invariants 1 and 2: numbers are explicit and rise by 1; sending never changes the queue.

use edgeway::session::reader::{Outgoing, Resume};
use proptest::prelude::*;

use crate::fixture::*;

/// What a client may do with what it is handed.
#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Drain(usize),
    /// Attach with the cursor of one of the newest events it has, counted from the newest.
    Attach(usize),
    Acknowledge,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3usize).prop_map(Step::Push),
        (1..6usize).prop_map(Step::Drain),
        (0..6usize).prop_map(Step::Attach),
        Just(Step::Acknowledge),
    ]
}

proptest! {
    #[test]
    fn however_often_it_is_sent_a_number_carries_the_same_and_the_chain_has_no_hole(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let feeds = [feed("a"), feed("b"), feed("c")];
        let mut session = session(&config(1000, 100_000), &["a", "b", "c"]);
        let mut reader = attach(&mut session, None);
        let mut pushed = Vec::new();
        let mut next_offset = [1u64; 3];
        let mut acknowledged = 0u64;
        let mut at = 0u64;
        let mut cursors = vec![reader.cursor];
        for step in steps {
            match step {
                Step::Push(which) => {
                    let event = message(&feeds[which], next_offset[which]);
                    next_offset[which] += 1;
                    session.push(&event, SETTLED);
                    pushed.push(event);
                }
                Step::Drain(events) => {
                    let held = session.outbox().len();
                    for (cursor, event) in resumable(drain(&mut session, reader.reader, events).0) {
                        prop_assert_eq!(cursor.number, at + 1);
                        at = cursor.number;
                        prop_assert_eq!(&event, &pushed[at as usize - 1]);
                        if cursors.len() as u64 == at {
                            cursors.push(cursor);
                        }
                        prop_assert_eq!(cursors[at as usize], cursor);
                    }
                    prop_assert_eq!(session.outbox().len(), held);
                }
                Step::Attach(back) => {
                    let number = (cursors.len() - 1).saturating_sub(back).max(acknowledged as usize);
                    reader = attach(&mut session, Some(cursors[number]));
                    prop_assert_eq!(reader.resume, Resume::Resumed);
                    prop_assert_eq!(reader.cursor, cursors[number]);
                    (acknowledged, at) = (number as u64, number as u64);
                }
                Step::Acknowledge => {
                    session.acknowledge(cursors[at as usize]).unwrap();
                    acknowledged = at;
                }
            }
            prop_assert_eq!(session.outbox().last(), pushed.len() as u64);
            prop_assert_eq!(session.outbox().floor(), acknowledged);
        }
    }

    #[test]
    fn the_queue_keeps_its_bounds_and_a_spill_is_made_up_for(
        sizes in prop::collection::vec(1..60usize, 1..120),
        takes in prop::collection::vec(0..8usize, 1..40),
        events_max in 1..20usize,
        bytes_max in 60..400usize,
    ) {
        let kind = |seq| edgeway::domain::event::EventKind::Message { sender: user("bob"), seq, created_at: None };
        let log: Vec<_> =
            (1u64..).zip(&sizes).map(|(offset, size)| logged(&feed("d"), offset, kind(offset), *size)).collect();
        let mut session = session(&config(events_max, bytes_max), &["d"]);
        let reader = attach(&mut session, None).reader;
        let mut got = Vec::new();
        let mut takes = takes.into_iter().cycle();
        for event in &log {
            session.push(event, SETTLED);
            prop_assert!(session.outbox().len() <= events_max && session.outbox().bytes() <= bytes_max);
            got.extend(offsets(&resumable(drain_some(&mut session, reader, takes.next().unwrap()))));
        }
        for _ in 0..2 * log.len() {
            if let Some(due) = session.due_catch_ups().first() {
                let from = due.position.offset as usize;
                catch_up(&mut session, &feed("d"), log[from..].to_vec());
            }
            prop_assert!(session.outbox().len() <= events_max && session.outbox().bytes() <= bytes_max);
            got.extend(offsets(&read(&mut session, reader)));
        }
        prop_assert_eq!(got, (1..=log.len() as u64).collect::<Vec<_>>());
    }
}

fn drain_some(
    session: &mut edgeway::session::machine::Session,
    reader: edgeway::session::reader::ReaderId,
    events: usize,
) -> Vec<Outgoing> {
    if events == 0 { Vec::new() } else { drain(session, reader, events).0 }
}
