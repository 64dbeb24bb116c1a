//! Resuming: exact from the queue, rebuilt from the logs, on this node or on another.

use edgeway::domain::time::Tick;
use edgeway::session::machine::Session;
use edgeway::session::reader::{AttachRefused, Dismissal, Drained, Resume};
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
    assert_eq!(asked.from, CatchUpFrom::Position, "the record knows what the acknowledged cursor covers");
}

#[test]
fn a_session_that_went_on_elsewhere_is_over_here_for_its_reader_and_for_whoever_comes() {
    let config = config(4, 1000);
    for expired_first in [false, true] {
        let mut session = session(&config, &["d"]);
        let reader = attach(&mut session, None).reader;
        push_all(&mut session, &messages(&feed("d"), 1..=1));
        if expired_first {
            session.end(Dismissal::Expired);
        }
        session.supersede();
        assert_eq!(session.ended(), Some(Dismissal::Superseded));
        let (out, drained) = drain(&mut session, reader, 10);
        assert!(out.is_empty(), "what comes next, comes at the other node");
        assert_eq!(drained, Drained::Dismissed(Dismissal::Superseded));
        assert_eq!(try_attach(&mut session, None).unwrap_err(), AttachRefused::Ended);
    }
    // What has ended for good stays so.
    let mut session = session(&config, &["d"]);
    session.end(Dismissal::Deleted);
    session.supersede();
    assert_eq!(session.ended(), Some(Dismissal::Deleted));
}
