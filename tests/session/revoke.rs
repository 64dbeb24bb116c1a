//! Invariant 5: after membership is revoked no later event of that dialog leaves, whatever is queued.

use edgeway::domain::event::MembershipChange::{Added, Removed};
use edgeway::session::intake::Intake;
use edgeway::session::piece::Progress;
use edgeway::session::subscriptions::Confirmed;

use crate::fixture::*;

#[test]
fn a_revoke_cuts_what_is_queued_and_leaves_the_other_dialogs_alone() {
    let config = config(100, 10_000);
    let mut session = session(&config, &["d", "other"]);
    let reader = attach(&mut session, None).reader;
    push_all(&mut session, &messages(&feed("d"), 1..=3));
    push_all(&mut session, &messages(&feed("other"), 1..=1));
    assert_eq!(session.push(&membership(&own(), 1, "d", Removed), SETTLED), Intake::Revoked(dialog("d")));
    assert_eq!(session.push(&message(&feed("d"), 4), SETTLED), Intake::Ignored);
    let left = read(&mut session, reader);
    assert_eq!(left.iter().map(|(_, event)| &event.feed).collect::<Vec<_>>(), [&feed("other"), &own()]);
    assert_eq!(left.iter().map(|(cursor, _)| cursor.number).collect::<Vec<_>>(), [4, 5], "numbers stay");
}

#[test]
fn a_revoke_cuts_what_was_sent_and_would_be_sent_again() {
    let config = config(100, 10_000);
    let mut session = session(&config, &["d"]);
    let first = attach(&mut session, None);
    push_all(&mut session, &messages(&feed("d"), 1..=3));
    read(&mut session, first.reader);
    session.push(&membership(&own(), 1, "d", Removed), SETTLED);
    let second = attach(&mut session, Some(first.cursor));
    let left = read(&mut session, second.reader);
    assert_eq!(left.iter().map(|(_, event)| &event.feed).collect::<Vec<_>>(), [&own()]);
}

#[test]
fn a_revoke_that_finds_no_room_cuts_all_the_same() {
    for behind in [false, true] {
        let config = config(2, 1000);
        let mut session = session(&config, &["d", "other"]);
        let reader = attach(&mut session, None).reader;
        push_all(&mut session, &messages(&feed("d"), 1..=2));
        if behind {
            session.distrust(&own());
        }
        let removal = membership(&own(), 1, "d", Removed);
        assert_eq!(session.push(&removal, SETTLED), Intake::Revoked(dialog("d")), "behind: {behind}");
        assert!(read(&mut session, reader).is_empty());
        assert_eq!(catch_up(&mut session, &own(), vec![removal]), Progress::Live);
        assert_eq!(read(&mut session, reader).len(), 1, "it is still told");
    }
}

#[test]
fn a_revoke_that_is_read_from_the_log_and_finds_no_room_cuts_all_the_same() {
    let config = config(2, 1000);
    let mut session = session(&config, &["d"]);
    let reader = attach(&mut session, None).reader;
    push_all(&mut session, &messages(&feed("d"), 1..=2));
    session.distrust(&own());
    let log = vec![membership(&own(), 1, "x", Added), membership(&own(), 2, "d", Removed)];
    let asked = session.catch_up(&own()).unwrap();
    let applied = session.apply(piece(asked, 0, log, 2), SETTLED);
    assert_eq!(applied.progress, Progress::Full);
    assert_eq!(applied.left, [dialog("d")]);
    assert!(read(&mut session, reader).is_empty());
}

#[test]
fn joining_and_leaving_are_reported_however_they_are_learned() {
    let config = config(100, 10_000);
    let mut session = session(&config, &["d"]);
    attach(&mut session, None);
    session.distrust(&own());
    let log = vec![membership(&own(), 1, "new", Added), membership(&own(), 2, "d", Removed)];
    let asked = session.catch_up(&own()).unwrap();
    let applied = session.apply(piece(asked, 0, log, 2), SETTLED);
    assert_eq!(applied.progress, Progress::Live);
    let joined: Vec<_> = applied.joined.into_iter().map(|(dialog, _)| dialog).collect();
    assert_eq!((joined, applied.left), (vec![dialog("new")], vec![dialog("d")]));
}

#[test]
fn a_revoke_that_is_read_from_the_dialogs_own_log_ends_the_reading() {
    let config = config(100, 10_000);
    let mut session = session(&config, &["d"]);
    let reader = attach(&mut session, None).reader;
    session.distrust(&feed("d"));
    let log = vec![message(&feed("d"), 1), membership(&feed("d"), 2, "d", Removed), message(&feed("d"), 3)];
    assert_eq!(catch_up(&mut session, &feed("d"), log), Progress::Outdated);
    assert!(read(&mut session, reader).is_empty());
}

#[test]
fn a_removal_that_is_read_again_does_not_end_a_membership_that_was_confirmed_since() {
    let config = config(100, 10_000);
    let mut session = session(&config, &[]);
    let reader = attach(&mut session, None).reader;
    let log = [membership(&own(), 1, "d", Removed), membership(&own(), 2, "d", Added)];
    push_all(&mut session, &log);
    read(&mut session, reader);
    let confirmed = Confirmed { feed: at(5), own: Some(at(2)), at: SETTLED };
    session.subscribe(&feed("d"), OPTIONS, at(0), confirmed, 0).unwrap();
    // The dialog's own log tells of it, too.
    let replay =
        vec![message(&feed("d"), 1), membership(&feed("d"), 2, "d", Removed), message(&feed("d"), 3)];
    assert_eq!(catch_up(&mut session, &feed("d"), replay), Progress::Live);
    assert_eq!(offsets(&read(&mut session, reader)), [1, 3]);
    session.distrust(&own());
    assert_eq!(session.push(&membership(&own(), 4, "d", Removed), SETTLED), Intake::Revoked(dialog("d")));
}

#[test]
fn a_removal_in_a_rewound_log_is_new_whatever_its_offset() {
    let mut session = session(&config(100, 10_000), &[]);
    attach(&mut session, None);
    let confirmed = Confirmed { feed: at(5), own: Some(at(2)), at: SETTLED };
    session.subscribe(&feed("d"), OPTIONS, at(5), confirmed, 0).unwrap();
    session.restart(&own(), &at(0));
    assert_eq!(session.push(&membership(&own(), 1, "d", Removed), SETTLED), Intake::Revoked(dialog("d")));
}

#[test]
fn a_removal_that_a_gap_has_passed_over_cuts_all_the_same() {
    let mut session = session(&config(100, 10_000), &["d"]);
    let reader = attach(&mut session, None).reader;
    session.distrust(&feed("d"));
    let told = gap_piece(session.catch_up(&feed("d")).unwrap(), 5, 0);
    assert_eq!(apply(&mut session, told), Progress::Live);
    let late = membership(&feed("d"), 4, "d", Removed);
    assert_eq!(session.push(&late, SETTLED), Intake::Revoked(dialog("d")));
    assert!(read(&mut session, reader).is_empty());
}

#[test]
fn another_role_in_a_followed_dialog_takes_nothing_from_the_queue() {
    let config = config(100, 10_000);
    let mut session = session(&config, &["d"]);
    let reader = attach(&mut session, None).reader;
    push_all(&mut session, &messages(&feed("d"), 1..=3));
    assert_eq!(session.push(&membership(&own(), 1, "d", Added), SETTLED), Intake::Queued);
    let second = membership(&own(), 2, "new", Added);
    assert_eq!(
        session.push(&second, SETTLED),
        Intake::Joined(dialog("new"), second.logged.as_ref().unwrap().at)
    );
    assert_eq!(read(&mut session, reader).len(), 5);
}
