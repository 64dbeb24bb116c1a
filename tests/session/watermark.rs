//! Invariant 9: the bus time in a cursor is never above what every feed of the session has settled.

use edgeway::domain::time::UnixMillis;
use edgeway::session::piece::Progress;

use crate::fixture::*;

const HOUR: u64 = 3_600_000;

#[test]
fn a_backlog_that_was_given_up_holds_the_watermark_back() {
    let config = config(4, 1000);
    let mut session = session(&config, &["slow", "busy"]);
    let reader = attach(&mut session, None).reader;
    session.distrust(&feed("slow"));
    let late = |offset| message_at(&feed("slow"), offset, BEGAN.0 + offset * HOUR);
    let asked = session.catch_up(&feed("slow")).unwrap();
    let mut first = piece(asked, 0, vec![late(1), late(2)], 2);
    first.complete = false;
    assert_eq!(apply(&mut session, first), Progress::More);
    // Still behind, and numbered up to 2; now another feed's events take all of it away again.
    for offset in 1..=3 {
        session.push(&message_at(&feed("busy"), offset, BEGAN.0 + 9 * HOUR), SETTLED);
    }
    assert_eq!(session.subscriptions().find(&feed("slow")).unwrap().position, at(0));
    catch_up(&mut session, &feed("busy"), vec![message_at(&feed("busy"), 1, BEGAN.0 + 9 * HOUR)]);
    let told = read(&mut session, reader);
    assert!(told[0].0.watermark < UnixMillis(BEGAN.0 + HOUR), "{told:?}");
}

#[test]
fn an_event_that_found_no_room_holds_the_watermark_back() {
    let config = config(2, 1000);
    let mut session = session(&config, &["d", "other"]);
    let reader = attach(&mut session, None).reader;
    session.distrust(&feed("d"));
    push_all(&mut session, &messages(&feed("other"), 1..=2));
    let asked = session.catch_up(&feed("d")).unwrap();
    let event = message_at(&feed("d"), 1, BEGAN.0 + HOUR);
    assert_eq!(apply(&mut session, piece(asked, 0, vec![event], 1)), Progress::Full);
    read(&mut session, reader);
    session.push(&message_at(&feed("other"), 3, BEGAN.0 + 2 * HOUR), SETTLED);
    let told = read(&mut session, reader);
    assert!(told[0].0.watermark < UnixMillis(BEGAN.0 + HOUR), "{told:?}");
}

#[test]
fn what_is_read_from_one_log_says_nothing_of_the_other_feeds() {
    let config = config(8, 1000);
    let mut session = session(&config, &["read", "lagging"]);
    let reader = attach(&mut session, None).reader;
    session.distrust(&feed("read"));
    let settled = UnixMillis(BEGAN.0 + 10);
    let asked = session.catch_up(&feed("read")).unwrap();
    let event = message_at(&feed("read"), 1, BEGAN.0 + HOUR);
    session.apply(piece(asked, 0, vec![event], 1), settled);
    // The other feed's event of just before is still on its way.
    let told = read(&mut session, reader);
    assert!(told[0].0.watermark <= settled, "{told:?}");
}
