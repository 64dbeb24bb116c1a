//! A feed that is followed anew since a place that the client names, after its log has begun anew.

use edgeway::domain::event::EventKind;
use edgeway::domain::time::Tick;
use edgeway::session::machine::Session;
use edgeway::session::reader::Resume;
use edgeway::session::since::Named;

use crate::fixture::*;

/// Alice's session, in step at offset 9 of a log that has lost the end of it since, and what she has of it. The gap to
/// offset 4 is queued, and what follows it, up to 8.
fn begun_anew() -> (Session, edgeway::session::reader::Attached) {
    let mut session = session(&config(100, 10_000), &["d"]);
    let attached = attach(&mut session, None);
    push_all(&mut session, &messages(&feed("d"), 1..=9));
    let read = read(&mut session, attached.reader);
    session.acknowledge(read.last().unwrap().0).unwrap();
    assert!(session.restart(&feed("d"), &at(6)));
    let asked = session.catch_up(&feed("d")).unwrap();
    apply(&mut session, gap_piece(asked, 4, 2));
    push_all(&mut session, &messages(&feed("d"), 5..=8));
    (session, attached)
}

fn follow_since(session: &mut Session, offset: u64, heard: Option<u64>) {
    let named = Named { position: at(offset), last_message_seq: offset, heard };
    session.follow_since(&feed("d"), OPTIONS, named, confirmed(offset)).unwrap();
}

#[test]
fn who_has_not_read_the_gap_goes_on_from_it_and_still_gets_it() {
    let (mut session, attached) = begun_anew();
    let heard = session.heard();
    follow_since(&mut session, 7, Some(heard));
    assert_eq!(session.catch_up(&feed("d")).unwrap().position, at(4));
    catch_up(&mut session, &feed("d"), messages(&feed("d"), 5..=8));
    let told = read(&mut session, attached.reader);
    assert!(matches!(told[0].1.kind, EventKind::Gap { .. }), "{told:#?}");
    assert!(
        told[1..3].iter().all(|(_, event)| matches!(event.kind, EventKind::Restored { .. })),
        "{told:#?}"
    );
    assert_eq!(offsets(&told), [5, 6, 7, 8]);
}

#[test]
fn what_was_acknowledged_since_it_was_asked_says_nothing_of_the_asking() {
    let (mut session, attached) = begun_anew();
    let heard = session.heard();
    let told = read(&mut session, attached.reader);
    session.acknowledge(told.last().unwrap().0).unwrap();
    follow_since(&mut session, 7, Some(heard));
    assert_eq!(session.catch_up(&feed("d")).unwrap().position, at(4));
    // Nor is a gap told that was read.
    catch_up(&mut session, &feed("d"), messages(&feed("d"), 5..=8));
    let told = read(&mut session, attached.reader);
    assert_eq!((told.len(), offsets(&told)), (4, vec![5, 6, 7, 8]));
}

#[test]
fn the_place_counts_from_whoever_has_read_the_gap_and_if_the_node_has_found_it() {
    let (mut session, attached) = begun_anew();
    let told = read(&mut session, attached.reader);
    session.acknowledge(told.last().unwrap().0).unwrap();
    let heard = session.heard();
    follow_since(&mut session, 7, Some(heard));
    assert_eq!(session.catch_up(&feed("d")).unwrap().position, at(7));

    let (mut session, _) = begun_anew();
    follow_since(&mut session, 7, None);
    assert_eq!(session.catch_up(&feed("d")).unwrap().position, at(7));
}

#[test]
fn followed_since_and_rebuilt_before_the_gap_was_read_it_is_told_anew() {
    let (mut session, attached) = begun_anew();
    let told = read(&mut session, attached.reader);
    let heard = session.heard();
    follow_since(&mut session, 7, Some(heard));
    catch_up(&mut session, &feed("d"), messages(&feed("d"), 5..=8));
    let record = session.snapshot();
    for cursor in [None, Some(attached.cursor)] {
        let mut moved = Session::from_snapshot(config(100, 10_000), record.clone(), Tick(0));
        assert_eq!(attach(&mut moved, cursor).resume, Resume::Rebuilt);
        assert_ne!(moved.catch_up(&feed("d")).unwrap().position.epoch, at(0).epoch);
    }
    // Whoever has read it goes on from it.
    let mut moved = Session::from_snapshot(config(100, 10_000), record, Tick(0));
    attach(&mut moved, Some(told[2].0));
    assert_eq!(moved.catch_up(&feed("d")).unwrap().position, at(4));
}
