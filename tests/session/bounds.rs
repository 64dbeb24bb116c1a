//! Invariants 2 and 4: nothing leaves but by acknowledgement or an overflow that is made up for; all is bounded.

use edgeway::domain::event::{EventKind, MembershipChange};
use edgeway::session::intake::{Intake, Progress};
use edgeway::session::reader::Resume;

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
