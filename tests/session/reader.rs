//! Invariant 3: one active reader. And what comes and goes with a reader: presence, tokens, ephemeral events.

use std::time::Duration;

use edgeway::domain::presence::TypingState::{Started, Stopped};
use edgeway::domain::time::{Tick, UnixMillis};
use edgeway::session::cursor::Cursor;
use edgeway::session::ephemeral::EPHEMERALS_MAX;
use edgeway::session::intake::Intake;
use edgeway::session::leaving::{TOKEN_NOTICE, TimedOut};
use edgeway::session::reader::{AttachRefused, AttachRequest, Dismissal, Drained, Outgoing, Resume};

use crate::fixture::*;

const NOW: UnixMillis = UnixMillis(BEGAN.0 + 1000);

#[test]
fn a_newer_attach_supersedes_and_the_older_is_told() {
    let mut session = session(&config(8, 1000), &["d"]);
    let first = session.attach(&request(None, Some(1)), NOW).unwrap();
    let second = session.attach(&request(None, Some(2)), NOW).unwrap();
    push_all(&mut session, &messages(&feed("d"), 1..=1));
    assert!(session.is_readable(first.reader), "so that it hears of it");
    let (out, told) = drain(&mut session, first.reader, 9);
    assert_eq!((out.len(), told), (0, Drained::Dismissed(Dismissal::Superseded)));
    session.detach(first.reader, Tick(0));
    assert!(session.attached_by().is_some(), "the older one's going is nothing to the newer");
    assert_eq!(offsets(&read(&mut session, second.reader)), [1]);
}

#[test]
fn a_stale_attach_is_refused_and_leaves_the_reader_alone() {
    let mut session = session(&config(8, 1000), &["d"]);
    let reader = session.attach(&request(None, Some(5)), NOW).unwrap().reader;
    for stale in [4, 5] {
        assert_eq!(session.attach(&request(None, Some(stale)), NOW), Err(AttachRefused::Stale));
    }
    push_all(&mut session, &messages(&feed("d"), 1..=1));
    assert_eq!(offsets(&read(&mut session, reader)), [1]);
    assert!(session.attach(&request(None, None), NOW).is_ok(), "without a count the newest arrival wins");
}

#[test]
fn an_attach_that_was_counted_before_it_was_answered_is_not_stale_to_itself() {
    let mut session = session(&config(8, 1000), &["d"]);
    session.attach(&request(None, Some(5)), NOW).unwrap();
    let again = |attach| AttachRequest { counted: true, ..request(None, Some(attach)) };
    assert_eq!(session.attach(&again(4), NOW), Err(AttachRefused::Stale), "a later one was seen");
    let reader = session.attach(&again(5), NOW).unwrap().reader;
    assert_eq!(
        session.attach(&request(None, Some(5)), NOW),
        Err(AttachRefused::Stale),
        "a proxy's repeat is"
    );
    assert!(!session.is_readable(reader));
}

#[test]
fn a_cursor_that_cannot_be_the_sessions_is_refused_and_leaves_the_reader_alone() {
    let mut session = session(&config(8, 1000), &["d"]);
    let first = attach(&mut session, None);
    push_all(&mut session, &messages(&feed("d"), 1..=2));
    drain(&mut session, first.reader, 1);
    let good = first.cursor;
    let far = UnixMillis(BEGAN.0 + 100_000_000);
    for bad in [
        Cursor { number: 2, ..good },
        Cursor { epoch: FIRST_EPOCH - 1, ..good },
        Cursor { epoch: FIRST_EPOCH + 1, ..good },
        Cursor { watermark: far, ..good },
        Cursor { number: u64::MAX, ..good },
    ] {
        assert_eq!(try_attach(&mut session, Some(bad)), Err(AttachRefused::CursorInvalid), "{bad}");
    }
    assert_eq!(offsets(&read(&mut session, first.reader)), [2]);
}

#[test]
fn a_session_goes_on_after_its_snapshot_and_old_cursors_stay_good() {
    let config = config(8, 1000);
    let mut session = session(&config, &["d"]);
    let first = attach(&mut session, None);
    push_all(&mut session, &messages(&feed("d"), 1..=3));
    let cursor = read(&mut session, first.reader)[1].0;
    let mut moved = edgeway::session::machine::Session::from_snapshot(config, session.snapshot(), Tick(0));
    let attached = attach(&mut moved, Some(cursor));
    assert_eq!((attached.resume, attached.cursor.number), (Resume::Rebuilt, 2));
    catch_up(&mut moved, &feed("d"), vec![message(&feed("d"), 3)]);
    assert_eq!(offsets(&read(&mut moved, attached.reader)), [3]);
    assert_eq!(attach(&mut moved, Some(attached.cursor)).resume, Resume::Resumed);
    assert_eq!(attach(&mut moved, Some(cursor)).resume, Resume::Rebuilt);
}

#[test]
fn nobody_reads_and_the_session_is_gone_then_expired() {
    let config = config(8, 1000);
    let mut session = session(&config, &["d"]);
    let reader = attach(&mut session, None).reader;
    session.detach(reader, Tick(10));
    let grace = session.next_deadline(Tick(10), NOW);
    assert_eq!(grace, Tick(10).plus(config.presence_grace));
    assert!(session.is_here());
    assert_eq!(session.handle_timeout(grace, NOW), TimedOut { gone: true, expired: false });
    assert!(!session.is_here());
    assert!(!session.wants_catch_up(), "nobody reads, nothing is fetched");
    let end = session.next_deadline(grace, NOW);
    assert_eq!(end, Tick(10).plus(config.resume_window));
    assert_eq!(session.handle_timeout(end, NOW), TimedOut { gone: false, expired: true });
}

#[test]
fn a_token_is_about_to_expire_then_expires_and_a_refresh_helps() {
    let config = config(8, 1000);
    let mut session = session(&config, &["d"]);
    let reader = attach(&mut session, None).reader;
    let notice = TOKEN_EXPIRES.minus(TOKEN_NOTICE);
    session.handle_timeout(Tick(0), notice.minus(Duration::from_millis(1)));
    assert!(!session.is_readable(reader));
    session.handle_timeout(Tick(0), notice);
    let (out, _) = drain(&mut session, reader, 9);
    assert!(matches!(out[..], [Outgoing::TokenExpiring(at)] if at == TOKEN_EXPIRES), "{out:?}");
    let later = TOKEN_EXPIRES.plus(Duration::from_secs(3600));
    session.set_token_expiry(later);
    session.handle_timeout(Tick(0), TOKEN_EXPIRES.plus(config.token_leeway));
    assert!(!session.is_readable(reader), "the newer one counts");
    session.handle_timeout(Tick(0), later.plus(config.token_leeway));
    assert_eq!(drain(&mut session, reader, 9).1, Drained::Dismissed(Dismissal::TokenExpired));
    assert_eq!(session.ended(), None, "the session stays");
}

fn typists(out: &[Outgoing]) -> usize {
    out.iter().filter(|outgoing| matches!(outgoing, Outgoing::Ephemeral(_))).count()
}

#[test]
fn ephemeral_events_are_coalesced_bounded_and_never_replayed() {
    let mut session = session(&config(8, 1000), &["d"]);
    let first = attach(&mut session, None);
    assert_eq!(session.push(&typing(&feed("d"), "bob", Started), SETTLED), Intake::Queued);
    assert_eq!(session.push(&typing(&feed("d"), "bob", Stopped), SETTLED), Intake::Dropped);
    assert_eq!(session.push(&typing(&feed("d"), "alice", Started), SETTLED), Intake::Ignored, "no echo");
    for n in 0..2 * EPHEMERALS_MAX {
        session.push(&typing(&feed("d"), &format!("typist{n}"), Started), SETTLED);
    }
    assert_eq!(typists(&drain(&mut session, first.reader, 9).0), EPHEMERALS_MAX);
    let second = attach(&mut session, Some(first.cursor));
    assert_eq!(typists(&drain(&mut session, second.reader, 9).0), 0);
}

#[test]
fn ephemeral_events_are_the_first_to_go_and_a_message_ends_typing() {
    let mut session = session(&config(2, 1000), &["d"]);
    let reader = attach(&mut session, None).reader;
    session.push(&typing(&feed("d"), "bob", Started), SETTLED);
    session.push(&message(&feed("d"), 1), SETTLED);
    assert_eq!(typists(&drain(&mut session, reader, 9).0), 0);
    session.push(&typing(&feed("d"), "carol", Started), SETTLED);
    push_all(&mut session, &messages(&feed("d"), 2..=4));
    assert_eq!(typists(&drain(&mut session, reader, 9).0), 0, "the spill took it");
}

#[test]
fn a_session_that_was_sent_away_takes_no_reader_and_keeps_what_it_has() {
    let mut session = session(&config(8, 1000), &["d"]);
    let reader = attach(&mut session, None).reader;
    session.send_away(Duration::from_secs(1));
    assert!(session.is_readable(reader));
    let (_, drained) = drain(&mut session, reader, 1);
    assert_eq!(drained, Drained::Dismissed(Dismissal::Draining { reconnect_after: Duration::from_secs(1) }));
    session.detach(reader, Tick(1));
    push_all(&mut session, &messages(&feed("d"), 1..=3));
    assert_eq!(try_attach(&mut session, None).unwrap_err(), AttachRefused::SentAway);
    assert_eq!(session.outbox().len(), 3);
}
