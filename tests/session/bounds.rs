//! Invariants 2 and 4: nothing leaves but by acknowledgement or an overflow that is made up for; all is bounded.

use edgeway::session::intake::Intake;
use edgeway::session::ledger::PLACE_BYTES;
use edgeway::session::piece::Progress;
use edgeway::session::reader::Resume;
use edgeway::session::subscriptions::nowhere;

use crate::fixture::*;

#[test]
fn an_overflow_never_takes_what_the_current_reader_has_not_got() {
    let config = config(4, 1000);
    let mut session = session(&config, &["d"]);
    let first = attach(&mut session, None);
    push_all(&mut session, &messages(&feed("d"), 1..=4));
    read(&mut session, first.reader);
    // All four were lost on the way: the client comes back with what it had.
    let second = attach(&mut session, Some(first.cursor));
    assert_eq!(second.resume, Resume::Resumed);
    session.push(&message(&feed("d"), 5), SETTLED);
    assert_eq!(offsets(&read(&mut session, second.reader)), [1, 2, 3, 4]);
    assert_eq!(catch_up(&mut session, &feed("d"), vec![message(&feed("d"), 5)]), Progress::Live);
    assert_eq!(offsets(&read(&mut session, second.reader)), [5]);
}

#[test]
fn an_event_that_found_no_room_is_read_even_if_the_log_was_read_just_before_it() {
    let config = config(2, 1000);
    let mut session = session(&config, &["d", "other"]);
    let reader = attach(&mut session, None).reader;
    session.distrust(&feed("d"));
    push_all(&mut session, &messages(&feed("other"), 1..=2));
    let before = session.catch_up(&feed("d")).unwrap();
    // Appended and pushed while the log is being read.
    assert_eq!(session.push(&message(&feed("d"), 1), SETTLED), Intake::Behind { spilled: false });
    assert_eq!(apply(&mut session, piece(before, 0, vec![], 0)), Progress::More);
    read(&mut session, reader);
    assert_eq!(catch_up(&mut session, &feed("d"), messages(&feed("d"), 1..=1)), Progress::Live);
    assert_eq!(offsets(&read(&mut session, reader)), [1]);
}

#[test]
fn a_catch_up_that_found_no_room_is_not_due_until_the_reader_has_taken_something() {
    // Full by bytes, long before it is by events.
    let config = config(100, 30);
    let mut session = session(&config, &["d"]);
    let reader = attach(&mut session, None).reader;
    session.distrust(&feed("d"));
    assert_eq!(catch_up(&mut session, &feed("d"), messages(&feed("d"), 1..=5)), Progress::Full);
    assert!(!session.wants_catch_up());
    assert!(session.due_catch_ups().is_empty());
    drain(&mut session, reader, 1);
    assert!(session.wants_catch_up());
    assert_eq!(catch_up(&mut session, &feed("d"), messages(&feed("d"), 4..=5)), Progress::Full);
    assert!(!session.wants_catch_up());
}

#[test]
fn messages_of_a_gap_that_was_handed_out_are_not_given_up_for_what_lies_in_the_gap() {
    for handed_out in [0, 1, 3] {
        let config = config(8, 1000);
        let mut session = session(&config, &["d"]);
        let reader = attach(&mut session, None).reader;
        session.distrust(&feed("d"));
        let told = gap_piece(session.catch_up(&feed("d")).unwrap(), 20, 3);
        apply(&mut session, told);
        if handed_out > 0 {
            drain(&mut session, reader, handed_out);
        }
        assert!(session.give_up_backlog());
        let position = session.catch_up(&feed("d")).unwrap().position;
        assert_eq!(position, if handed_out == 0 { at(0) } else { nowhere() }, "after {handed_out}");
    }
}

#[test]
fn a_gap_and_its_messages_wait_for_room_like_everything_else() {
    let config = config(4, 1000);
    let mut session = session(&config, &["d", "other"]);
    let reader = attach(&mut session, None).reader;
    push_all(&mut session, &messages(&feed("other"), 1..=3));
    session.distrust(&feed("d"));
    let told = gap_piece(session.catch_up(&feed("d")).unwrap(), 20, 3);
    assert_eq!(apply(&mut session, told), Progress::Full);
    assert_eq!(session.outbox().len(), 3);
    read(&mut session, reader);
    let told = gap_piece(session.catch_up(&feed("d")).unwrap(), 20, 3);
    assert_eq!(apply(&mut session, told), Progress::Live);
    assert_eq!(session.outbox().unread(), 4);
}

#[test]
fn a_group_larger_than_the_bounds_passes_alone() {
    let config = config(2, 1000);
    let mut session = session(&config, &["d"]);
    attach(&mut session, None);
    session.distrust(&feed("d"));
    let told = gap_piece(session.catch_up(&feed("d")).unwrap(), 20, 9);
    assert_eq!(apply(&mut session, told), Progress::Live);
    assert_eq!(session.outbox().unread(), 10);
}

#[test]
fn a_gap_that_was_given_up_does_not_count_the_messages_behind_it_as_known() {
    let mut session = session(&config(4, 1000), &["d", "other"]);
    attach(&mut session, None);
    session.distrust(&feed("d"));
    let mut told = gap_piece(session.catch_up(&feed("d")).unwrap(), 20, 0);
    told.events = messages(&feed("d"), 21..=22);
    told.reached = at(22);
    assert_eq!(apply(&mut session, told), Progress::Live);
    push_all(&mut session, &messages(&feed("other"), 1..=2));
    let again = session.catch_up(&feed("d")).unwrap();
    assert_eq!((again.position, again.last_message_seq), (at(0), 0), "not 20, as message 21 would say");
}

#[test]
fn a_catch_up_that_found_no_room_is_due_again_when_a_spill_has_made_room() {
    let mut session = session(&config(3, 1000), &["d", "other", "third"]);
    attach(&mut session, None);
    session.distrust(&feed("d"));
    push_all(&mut session, &messages(&feed("other"), 1..=2));
    assert_eq!(catch_up(&mut session, &feed("d"), messages(&feed("d"), 1..=2)), Progress::Full);
    assert!(!session.wants_catch_up());
    assert_eq!(session.push(&message(&feed("third"), 1), SETTLED), Intake::Behind { spilled: true });
    // Nothing waits for the reader, and it has not moved.
    assert!(session.wants_catch_up());
}

#[test]
fn the_places_of_a_queue_are_counted_and_given_back_by_each_way_out() {
    let config = config(4, 1000);
    let held = || config.ledger.bytes() / PLACE_BYTES;
    let mut session = session(&config, &["d"]);
    let reader = attach(&mut session, None).reader;
    push_all(&mut session, &messages(&feed("d"), 1..=3));
    assert_eq!(held(), 3);
    let read = read(&mut session, reader);
    // Two more make the oldest, which was handed out, give way.
    push_all(&mut session, &messages(&feed("d"), 4..=5));
    assert_eq!(held(), 4);
    session.acknowledge(read[2].0).unwrap();
    assert_eq!(held(), 2);
    assert!(session.give_up_backlog());
    assert_eq!(held(), 0);
    assert_eq!(catch_up(&mut session, &feed("d"), messages(&feed("d"), 4..=5)), Progress::Live);
    assert_eq!(held(), 2);
    drop(session);
    assert_eq!(held(), 0);
}

#[test]
fn a_message_that_was_pushed_is_known_to_whoever_reads_the_log_after_it() {
    let mut session = session(&config(10, 1000), &["d"]);
    attach(&mut session, None);
    push_all(&mut session, &messages(&feed("d"), 1..=3));
    session.distrust(&feed("d"));
    let asked = session.catch_up(&feed("d")).unwrap();
    assert_eq!((asked.position, asked.last_message_seq), (at(3), 3));
}
