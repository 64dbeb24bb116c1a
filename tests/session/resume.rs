//! Resuming: exact from the queue, rebuilt from the logs, on this node or on another.

use edgeway::domain::time::{Tick, UnixMillis};
use edgeway::session::intake::Progress;
use edgeway::session::machine::Session;
use edgeway::session::reader::Resume;
use edgeway::session::subscriptions::CatchUpFrom;

use crate::fixture::*;

#[test]
fn an_acknowledgement_of_what_was_given_up_says_nothing_newer_than_itself() {
    let config = config(2, 1000);
    let mut session = session(&config, &["d"]);
    let reader = attach(&mut session, None).reader;
    let mut cursors = Vec::new();
    for offset in 1..=6 {
        // Each much later than the one before.
        session.push(&message_at(&feed("d"), offset, BEGAN.0 + offset * 60_000), SETTLED);
        cursors.push(read(&mut session, reader)[0].0);
    }
    assert_eq!(session.outbox().floor(), 4);
    session.acknowledge(cursors[1]).unwrap();
    // The client that told nothing but that acknowledgement has two events.
    let attached = attach(&mut session, None);
    assert_eq!(attached.resume, Resume::Rebuilt);
    assert!(attached.cursor.watermark <= cursors[1].watermark, "{attached:?}");
}

#[test]
fn a_snapshot_counts_nothing_as_delivered_that_was_given_up_unacknowledged() {
    let config = config(4, 30);
    let mut session = session(&config, &["d", "other"]);
    let reader = attach(&mut session, None).reader;
    push_all(&mut session, &messages(&feed("d"), 1..=1));
    read(&mut session, reader);
    push_all(&mut session, &messages(&feed("other"), 1..=4));
    assert!(session.outbox().is_empty(), "one was sent and given up, the others spilled");
    let saved = session.snapshot();
    let delivered = saved.subscriptions.iter().find(|saved| saved.feed == feed("d")).unwrap();
    assert_eq!(delivered.delivered.offset, 0);
    let mut moved = Session::from_snapshot(config, saved, Tick(0));
    assert_eq!(attach(&mut moved, None).resume, Resume::Rebuilt);
    let asked = moved.catch_up(&feed("d")).unwrap();
    assert_eq!(asked.position, at(0));
    assert!(matches!(asked.from, CatchUpFrom::Since(UnixMillis(time)) if time < BEGAN.0));
}

#[test]
fn what_was_read_before_a_log_was_rewound_is_not_applied_after() {
    let mut session = session(&config(100, 10_000), &["d"]);
    let reader = attach(&mut session, None).reader;
    session.distrust(&feed("d"));
    let asked = session.catch_up(&feed("d")).unwrap();
    let read_before = piece(asked, 0, messages(&feed("d"), 1..=3), 3);
    session.restart(&feed("d"), &at(1));
    assert_eq!(apply(&mut session, read_before), Progress::Outdated);
    assert!(read(&mut session, reader).is_empty());
}

#[test]
fn a_position_that_a_rewound_log_lacks_is_forgotten_before_the_log_grows_past_it() {
    let mut session = session(&config(100, 10_000), &["d"]);
    let first = attach(&mut session, None);
    push_all(&mut session, &messages(&feed("d"), 1..=3));
    read(&mut session, first.reader);
    session.restart(&feed("d"), &at(1));
    // Other events than those the session knows by these offsets.
    push_all(&mut session, &messages(&feed("d"), 2..=4));
    assert!(read(&mut session, first.reader).is_empty(), "nothing is taken before the gap is told");
    assert_ne!(session.catch_up(&feed("d")).unwrap().position.epoch, at(0).epoch);
    // Nor after a rebuild.
    let asked = |session: &Session| session.catch_up(&feed("d")).unwrap().position.epoch;
    let mut moved = Session::from_snapshot(config(100, 10_000), session.snapshot(), Tick(0));
    attach(&mut moved, Some(first.cursor));
    assert_ne!(asked(&moved), at(0).epoch);
}
