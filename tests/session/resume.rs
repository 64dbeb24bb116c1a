//! Resuming: exact from the queue, rebuilt from the logs, on this node or on another.

use edgeway::domain::event::LogPosition;
use edgeway::domain::time::Tick;
use edgeway::session::cursor::Cursor;
use edgeway::session::machine::Session;
use edgeway::session::piece::Progress;
use edgeway::session::reader::{AttachRefused, Dismissal, DrainBudget, Drained, Resume};
use edgeway::session::replay::{LogExtent, Replay, plan};
use edgeway::session::subscriptions::{CatchUpFrom, NOWHERE};

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
fn a_live_event_that_was_lost_is_read_by_a_rebuild_however_old_it_is() {
    let config = config(2, 1000);
    let mut session = session(&config, &["d", "quiet"]);
    let reader = attach(&mut session, None).reader;
    // What was said in "quiet" meanwhile got lost on its way, and nothing has told yet: the feed counts as in step.
    for offset in 1..=6 {
        session.push(&message_at(&feed("d"), offset, BEGAN.0 + offset * 60_000), SETTLED);
        read(&mut session, reader);
    }
    let attached = attach(&mut session, None);
    assert_eq!(attached.resume, Resume::Rebuilt, "its queue was given up");
    let asked = session.catch_up(&feed("quiet")).unwrap();
    // One message, far older than any cursor's time less the margin.
    let head = at(1);
    let log = LogExtent { head: &head, first_offset: 1, first_since: 2 };
    let replay = plan(&asked.position, asked.from, log);
    assert_eq!(replay, Replay { gap: None, after_offset: 0 }, "{asked:?}");
}

#[test]
fn a_live_event_that_was_lost_is_read_at_another_node_too_if_the_record_is_no_older_than_the_cursor() {
    let config = config(2, 1000);
    let mut session = session(&config, &["d", "quiet"]);
    let reader = attach(&mut session, None).reader;
    let mut last = None;
    for offset in 1..=6 {
        session.push(&message_at(&feed("d"), offset, BEGAN.0 + offset * 60_000), SETTLED);
        last = read(&mut session, reader).pop();
    }
    let (cursor, _) = last.unwrap();
    let later = Cursor { number: cursor.number + 1, ..cursor };
    // Of the later cursor the record does not know what it covers: its time has to say.
    for (cursor, after_offset) in [(cursor, 0), (later, 1)] {
        let mut moved = Session::from_snapshot(config.clone(), session.snapshot(), Tick(0));
        attach(&mut moved, Some(cursor));
        let asked = moved.catch_up(&feed("quiet")).unwrap();
        let head = at(1);
        let log = LogExtent { head: &head, first_offset: 1, first_since: 2 };
        let replay = plan(&asked.position, asked.from, log);
        assert_eq!(replay, Replay { gap: None, after_offset }, "{asked:?}");
    }
}

#[test]
fn what_another_node_has_numbered_since_the_record_counts_as_delivered_by_its_time() {
    let config = config(100, 10_000);
    let mut session = session(&config, &["d"]);
    let reader = attach(&mut session, None).reader;
    session.push(&message_at(&feed("d"), 1, BEGAN.0), SETTLED);
    read(&mut session, reader);
    let record = session.snapshot();
    let mut last = None;
    for offset in 2..=6 {
        session.push(&message_at(&feed("d"), offset, BEGAN.0 + offset * 60_000), SETTLED);
        last = read(&mut session, reader).pop();
    }
    // The node is gone; its record tells of the first message alone, the client's cursor of all.
    let mut moved = Session::from_snapshot(config, record, Tick(0));
    assert_eq!(attach(&mut moved, last.map(|(cursor, _)| cursor)).resume, Resume::Rebuilt);
    let asked = moved.catch_up(&feed("d")).unwrap();
    let head = at(6);
    let log = LogExtent { head: &head, first_offset: 1, first_since: 6 };
    let replay = plan(&asked.position, asked.from, log);
    assert_eq!(replay, Replay { gap: None, after_offset: 5 }, "{asked:?}");
}

#[test]
fn a_session_that_was_rebuilt_by_time_goes_on_exactly_from_there() {
    let config = config(100, 10_000);
    let mut session = session(&config, &["d", "quiet"]);
    let reader = attach(&mut session, None).reader;
    let record = session.snapshot();
    push_all(&mut session, &messages(&feed("d"), 1..=6));
    let cursor = read(&mut session, reader)[3].0;
    // The node is gone; its record tells of nothing that the client has.
    let mut second = Session::from_snapshot(config.clone(), record, Tick(0));
    let reader = attach(&mut second, Some(cursor)).reader;
    assert!(matches!(second.catch_up(&feed("d")).unwrap().from, CatchUpFrom::Since { .. }));
    catch_up(&mut second, &own(), vec![]);
    catch_up(&mut second, &feed("quiet"), vec![]);
    catch_up(&mut second, &feed("d"), messages(&feed("d"), 1..=6));
    let told = read(&mut second, reader);
    // From the second node to a third, which knows all that there is to know.
    for (cursor, offset) in [(told[1].0, 2), (told[5].0, 6)] {
        let mut third = Session::from_snapshot(config.clone(), second.snapshot(), Tick(0));
        attach(&mut third, Some(cursor));
        let asked = third.catch_up(&feed("d")).unwrap();
        assert_eq!((asked.position, asked.from), (at(offset), CatchUpFrom::Position));
    }
}

#[test]
fn what_was_given_up_is_known_elsewhere_by_where_it_has_led() {
    let config = config(2, 1000);
    let mut session = session(&config, &["d", "quiet"]);
    let reader = attach(&mut session, None).reader;
    let mut cursors = Vec::new();
    for offset in 1..=6 {
        session.push(&message(&feed("d"), offset), SETTLED);
        cursors.push(read(&mut session, reader)[0].0);
    }
    // Nothing was acknowledged, and two are held.
    for (cursor, known) in
        [(cursors[5], Some(6)), (cursors[4], Some(5)), (cursors[3], Some(4)), (cursors[2], None)]
    {
        let mut moved = Session::from_snapshot(config.clone(), session.snapshot(), Tick(0));
        attach(&mut moved, Some(cursor));
        let asked = moved.catch_up(&feed("d")).unwrap();
        match known {
            Some(offset) => assert_eq!((asked.position, asked.from), (at(offset), CatchUpFrom::Position)),
            None => assert!(matches!(asked.from, CatchUpFrom::Since { .. }), "{asked:?}"),
        }
        let quiet = moved.catch_up(&feed("quiet")).unwrap();
        assert_eq!((quiet.position, quiet.from == CatchUpFrom::Position), (at(0), known.is_some()));
    }
}

#[test]
fn whoever_was_asked_to_come_back_is_told_so_though_the_session_is_given_up_here() {
    let mut session = session(&config(4, 1000), &["d"]);
    let reader = attach(&mut session, None).reader;
    let come_back = Dismissal::Draining { reconnect_after: std::time::Duration::from_millis(1) };
    session.dismiss(come_back);
    session.end(Dismissal::Expired);
    assert_eq!(
        session.drain(reader, DrainBudget { events: 1, bytes: 1 }, &mut Vec::new()),
        Drained::Dismissed(come_back)
    );
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

#[test]
fn a_replay_that_was_asked_for_is_not_skipped_by_a_rebuild_from_an_older_cursor() {
    let config = config(100, 10_000);
    let mut session = session(&config, &["other"]);
    let reader = attach(&mut session, None).reader;
    // The cursor's time is later than what is replayed now.
    push_all(&mut session, &[message_at(&feed("other"), 1, BEGAN.0 + 500_000)]);
    let cursor = read(&mut session, reader)[0].0;
    session.subscribe(&feed("d"), OPTIONS, at(0), confirmed(3), 0).unwrap();
    catch_up(&mut session, &feed("d"), messages(&feed("d"), 1..=3));
    let mut moved = Session::from_snapshot(config, session.snapshot(), Tick(0));
    attach(&mut moved, Some(cursor));
    let asked = moved.catch_up(&feed("d")).unwrap();
    assert_eq!((asked.position, asked.from), (at(0), CatchUpFrom::Position));
}

#[test]
fn a_cursor_of_an_older_generation_is_not_taken_for_a_newer_place() {
    let config = config(2, 1000);
    let mut session = session(&config, &["d"]);
    let first = attach(&mut session, None);
    push_all(&mut session, &messages(&feed("d"), 1..=2));
    let old = read(&mut session, first.reader)[1].0;
    // Rebuilt from the beginning (the acknowledged place is below the floor), and acknowledged further than before.
    push_all(&mut session, &messages(&feed("d"), 3..=4));
    let second = attach(&mut session, None);
    assert_eq!(second.resume, Resume::Rebuilt);
    catch_up(&mut session, &feed("d"), messages(&feed("d"), 1..=2));
    read(&mut session, second.reader);
    push_all(&mut session, &messages(&feed("d"), 3..=4));
    let newest = read(&mut session, second.reader)[1].0;
    session.acknowledge(newest).unwrap();
    // A backup comes up with what it had: two events.
    let third = attach(&mut session, Some(old));
    assert_eq!(third.resume, Resume::Rebuilt);
    assert!(session.catch_up(&feed("d")).unwrap().position.offset <= 2);
}

#[test]
fn what_was_read_for_an_earlier_subscription_is_not_applied_to_a_later_one() {
    let mut session = session(&config(100, 10_000), &[]);
    attach(&mut session, None);
    session.subscribe(&feed("d"), OPTIONS, at(2), confirmed(2), 0).unwrap();
    let read_before = piece(session.catch_up(&feed("d")).unwrap(), 2, vec![], 2);
    // A push in between that only the first one has seen.
    session.push(&message(&feed("d"), 4), SETTLED);
    session.unsubscribe(&dialog("d"));
    session.subscribe(&feed("d"), OPTIONS, at(2), confirmed(4), 0).unwrap();
    assert_eq!(apply(&mut session, read_before), Progress::Outdated);
}

#[test]
fn of_two_pieces_that_were_read_before_a_push_neither_ends_the_catch_up() {
    let mut session = session(&config(100, 10_000), &["d"]);
    let reader = attach(&mut session, None).reader;
    session.distrust(&feed("d"));
    let read_twice = || piece(session.catch_up(&feed("d")).unwrap(), 0, vec![], 0);
    let (first, second) = (read_twice(), read_twice());
    session.push(&message(&feed("d"), 2), SETTLED);
    assert_eq!(apply(&mut session, first), Progress::More);
    assert_eq!(apply(&mut session, second), Progress::Outdated);
    assert_eq!(catch_up(&mut session, &feed("d"), messages(&feed("d"), 1..=2)), Progress::Live);
    assert_eq!(offsets(&read(&mut session, reader)), [1, 2]);
}

#[test]
fn a_cursor_amid_the_messages_of_a_gap_gets_the_gap_again_and_the_messages_it_lacks() {
    let config = config(100, 10_000);
    let mut session = session(&config, &["d"]);
    let reader = attach(&mut session, None).reader;
    session.distrust(&feed("d"));
    let told = gap_piece(session.catch_up(&feed("d")).unwrap(), 20, 3);
    apply(&mut session, told);
    let group = read(&mut session, reader);
    for (has, known) in [(2, 1), (4, 3)] {
        let mut moved = Session::from_snapshot(config.clone(), session.snapshot(), Tick(0));
        attach(&mut moved, Some(group[has - 1].0));
        let asked = moved.catch_up(&feed("d")).unwrap();
        // Not where it was before: another node may have in memory what this one could not read, and to whoever was told
        // of the gap that would be old.
        let nowhere = LogPosition { epoch: NOWHERE.into(), offset: 0 };
        let position = if has == group.len() { at(20) } else { nowhere };
        assert_eq!((asked.position, asked.last_message_seq), (position, known));
    }
}

#[test]
fn a_reader_is_not_handed_what_its_client_acknowledges_elsewhere() {
    let config = config(100, 10_000);
    let mut session = session(&config, &["d"]);
    let first = attach(&mut session, None);
    push_all(&mut session, &messages(&feed("d"), 1..=3));
    let newest = read(&mut session, first.reader).last().unwrap().0;
    let second = attach(&mut session, Some(first.cursor));
    session.acknowledge(newest).unwrap();
    assert!(!session.is_readable(second.reader), "there is nothing to wake for");
    session.push(&message(&feed("d"), 4), SETTLED);
    assert_eq!(offsets(&read(&mut session, second.reader)), [4]);
    assert!(!session.is_readable(second.reader));
}

#[test]
fn a_cursor_from_before_a_rebuild_that_nobody_heard_of_has_all_that_it_had() {
    let config = config(100, 10_000);
    let mut here = session(&config, &["d"]);
    let reader = attach(&mut here, None).reader;
    let record = here.snapshot();
    push_all(&mut here, &messages(&feed("d"), 1..=3));
    let cursor = read(&mut here, reader)[2].0;
    // Rebuilt at another node from the record as it is; the client never gets the answer.
    let mut lost = Session::from_snapshot(config.clone(), record, Tick(0));
    attach(&mut lost, None);
    let mut last = Session::from_snapshot(config, lost.snapshot(), Tick(0));
    attach(&mut last, Some(cursor));
    let asked = last.catch_up(&feed("d")).unwrap();
    assert_eq!(
        asked.position.epoch,
        at(0).epoch,
        "the client has not gone back: its place in the log is known"
    );
}

#[test]
fn whoever_forgets_its_place_in_a_log_says_that_its_record_must_forget_it_too() {
    let mut session = session(&config(100, 10_000), &["d", "other"]);
    let reader = attach(&mut session, None).reader;
    push_all(&mut session, &messages(&feed("d"), 1..=3));
    read(&mut session, reader);
    assert!(session.restart(&feed("d"), &at(1)));
    assert!(!session.restart(&feed("other"), &at(0)), "nothing of it is lost");
}

#[test]
fn what_is_furthest_behind_is_read_first_and_the_users_own_before_all() {
    let mut session = session(&config(100, 10_000), &["busy", "quiet"]);
    let reader = attach(&mut session, None).reader;
    push_all(&mut session, &[message_at(&feed("busy"), 1, BEGAN.0 + 60_000)]);
    push_all(&mut session, &[message_at(&feed("busy"), 2, BEGAN.0 + 90_000)]);
    read(&mut session, reader);
    session.distrust(&feed("busy"));
    session.distrust(&feed("quiet"));
    session.distrust(&own());
    let due: Vec<_> = session.due_catch_ups().into_iter().map(|due| due.feed).collect();
    assert_eq!(due, [own(), feed("busy"), feed("quiet")]);
    // Step by step "busy" comes nearer; now it is the other's turn.
    let asked = session.catch_up(&feed("busy")).unwrap();
    let mut some = piece(asked, 2, vec![message_at(&feed("busy"), 3, BEGAN.0 + 120_000)], 3);
    some.complete = false;
    apply(&mut session, some);
    let due: Vec<_> = session.due_catch_ups().into_iter().map(|due| due.feed).collect();
    assert_eq!(due, [own(), feed("quiet"), feed("busy")]);
}
