//! Logs that lose what they held while nobody looks, and what whoever follows them is told of it.

use std::time::Duration;

use edgeway::application::command::{Command, Followed, Reply};
use edgeway::domain::error::Refusal;
use edgeway::domain::event::LogPosition;
use edgeway::domain::ids::{FeedKey, UserId};
use edgeway::session::reader::Resume;
use tokio::time::sleep;

use crate::node::{Client, Node, dialog};
use crate::store::LAST_MESSAGE_SEQ;

/// Until everything that can be done at once is done.
const MOMENT: Duration = Duration::from_secs(1);
/// Longer than a session that nobody reads counts as here.
const GONE_AFTER: Duration = Duration::from_secs(20);
/// Longer than a session that nobody reads is kept.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5 * 60);

fn feed(id: &str) -> FeedKey {
    FeedKey::Dialog(dialog(id))
}

fn followed(answer: Result<Reply, Refusal>) -> Followed {
    match answer.unwrap() {
        Reply::Subscribed(mut subscribed) if subscribed.failed.is_empty() => subscribed.dialogs.remove(0),
        other => panic!("{other:?}"),
    }
}

impl Node {
    /// An application's note in a dialog.
    async fn note(&self, id: &str, text: &str) -> LogPosition {
        let json = format!(r#"{{"type":"x.note","dialog_id":"{id}","data":"{text}"}}"#);
        self.append(&feed(id), text, &json).await
    }

    /// A message, as the Store appends it.
    async fn message(&self, id: &str, seq: u64) {
        let json = format!(
            r#"{{"type":"message_new","dialog_id":"{id}","message":{{"message_id":"m{seq}","dialog_id":"{id}","seq":{seq},"sender_id":"bob","client_message_id":"c{seq}","body":{{"text":"logged {seq}"}},"created_at":"2026-01-01T00:00:00.000Z"}}}}"#
        );
        self.append(&feed(id), &format!("m{seq}"), &json).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_was_lost_in_a_gap_counts_before_what_follows_the_gap() {
    let node = Node::start();
    let alice = node.attach("alice").await;
    for id in ["tea", "coffee"] {
        followed(alice.subscribe(&[id]).await);
    }
    let removal = r#"{"type":"membership","dialog_id":"tea","user_id":"alice","change":"removed"}"#;
    node.store.remove("alice", &dialog("tea"));
    node.bus.drop_live(&feed("tea"), 1);
    node.append(&feed("tea"), "removal", removal).await;
    node.bus.trim(&feed("tea"), 0);
    node.note("tea", "too late").await;
    sleep(MOMENT).await;
    node.note("coffee", "marker").await;
    let heard = alice.hear_until("marker").await;
    assert_eq!(heard.len(), 1, "{heard:#?}");

    node.append(&FeedKey::User(UserId::parse("alice").unwrap()), "removal", removal).await;
    let heard = alice.hear_until("removed").await;
    assert_eq!(heard.len(), 1, "{heard:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_one_session_reads_of_a_new_log_is_news_for_all() {
    let node = Node::start();
    let first = node.note("tea", "one").await;
    node.note("tea", "two").await;
    let bob = node.attach("bob").await;
    followed(bob.subscribe(&["tea"]).await);
    let third = node.note("tea", "three").await;
    node.note("tea", "four").await;
    bob.hear_until("four").await;
    node.bus.reset(&feed("tea"));

    // The node does not have what she lacks in memory, and reads the log.
    let carol = node.attach("carol").await;
    let new_log = followed(carol.subscribe_since("tea", first).await).epoch;
    // What he lacks, it has: of the old log.
    let dave = node.attach("dave").await;
    assert_eq!(followed(dave.subscribe_since("tea", third).await).epoch, new_log);
    for client in [&bob, &carol, &dave] {
        let heard = client.hear_until("log_reset").await;
        assert_eq!(heard.len(), 1, "{heard:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_a_log_has_lost_is_not_taken_for_the_one_that_has_its_offset_later() {
    let node = Node::start();
    let mut last = None;
    for n in 1..=9 {
        last = Some(node.note("tea", &format!("old {n}")).await);
    }
    node.bus.rewind(&feed("tea"), 3);
    let alice = node.attach("alice").await;
    followed(alice.subscribe_since("tea", last.unwrap()).await);
    let (session, from) = (alice.reading.session().id().clone(), alice.reading.cursor);
    // She goes before she hears of the gap.
    drop(alice);
    for n in 7..=9 {
        node.note("tea", &format!("new {n}")).await;
    }
    sleep(FORGOTTEN_AFTER).await;

    let alice = node.attach_again("alice", &session, from).await;
    assert_eq!(alice.reading.resume, Resume::Rebuilt);
    hears_the_gap_and_all_since(&alice).await;
}

/// The nine entries since the log began anew, behind the gap that tells of it.
async fn hears_the_gap_and_all_since(alice: &Client) {
    let heard = alice.hear_until("new 9").await;
    assert!(heard[0].contains("log_reset"), "{heard:#?}");
    assert_eq!(heard.len(), 10, "{heard:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_since_of_what_a_log_has_lost_is_told_so_though_the_log_has_grown_past_it() {
    let node = Node::start();
    let alice = node.attach("alice").await;
    followed(alice.subscribe(&["tea"]).await);
    let mut last = None;
    for n in 1..=9 {
        last = Some(node.note("tea", &format!("old {n}")).await);
    }
    alice.hear_until("old 9").await;
    let (session, from) = (alice.reading.session().id().clone(), alice.reading.reached().unwrap());
    drop(alice);
    sleep(GONE_AFTER).await;
    node.bus.rewind(&feed("tea"), 3);
    node.bus.interrupt_all();
    sleep(MOMENT).await;
    for n in 7..=9 {
        node.note("tea", &format!("new {n}")).await;
    }
    // She says what she has before she can have heard.
    let alice = node.attach_again("alice", &session, from).await;
    assert_eq!(alice.reading.resume, Resume::Resumed);
    followed(alice.subscribe_since("tea", last.unwrap()).await);
    hears_the_gap_and_all_since(&alice).await;
}

/// Of a dialog with nine notes, all of which she has, the log has lost three and got three others. She has not heard.
async fn whose_log_grew_past_what_it_had_lost(node: &Node) -> (Client, LogPosition) {
    let alice = node.attach("alice").await;
    followed(alice.subscribe(&["tea"]).await);
    let mut last = None;
    for n in 1..=9 {
        last = Some(node.note("tea", &format!("old {n}")).await);
    }
    alice.hear_until("old 9").await;
    node.bus.rewind(&feed("tea"), 3);
    node.bus.interrupt_all();
    sleep(MOMENT).await;
    for n in 7..=9 {
        node.note("tea", &format!("new {n}")).await;
    }
    sleep(MOMENT).await;
    (alice, last.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_since_from_before_the_gap_was_read_goes_on_from_the_gap() {
    let node = Node::start();
    let (alice, last) = whose_log_grew_past_what_it_had_lost(&node).await;
    followed(alice.subscribe_since("tea", last).await);
    hears_the_gap_and_all_since(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn a_since_that_was_under_way_while_the_gap_was_read_goes_on_from_the_gap() {
    let node = Node::start();
    let (alice, last) = whose_log_grew_past_what_it_had_lost(&node).await;
    let asked = alice.subscribe_since("tea", last);
    let heard = alice.hear_until("log_reset").await;
    assert!(heard.last().unwrap().contains("new 9"), "{heard:#?}");
    alice.ask(Command::Ack(alice.reading.reached().unwrap())).await.unwrap();
    followed(asked.await);
    // Nobody can tell whether she named a place in the new log: what she has, she drops by its offset.
    let heard = alice.hear_until("new 9").await;
    assert!(heard[0].contains(r#""offset":1"#) && heard[6].contains("new 7"), "{heard:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_since_of_whoever_has_read_the_gap_counts() {
    let node = Node::start();
    let (alice, last) = whose_log_grew_past_what_it_had_lost(&node).await;
    alice.hear_until("new 9").await;
    alice.ask(Command::Ack(alice.reading.reached().unwrap())).await.unwrap();
    followed(alice.subscribe_since("tea", LogPosition { offset: last.offset - 1, ..last }).await);
    let heard = alice.hear_until("new 9").await;
    assert_eq!(heard.len(), 1, "{heard:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_had_before_the_log_is_restored_to_whoever_followed_in_between() {
    let node = Node::start();
    node.message("tea", LAST_MESSAGE_SEQ - 2).await;
    let alice = node.attach("alice").await;
    assert_eq!(followed(alice.subscribe(&["tea"]).await).last_message_seq, Some(LAST_MESSAGE_SEQ));
    node.bus.drop_live(&feed("tea"), 2);
    node.message("tea", LAST_MESSAGE_SEQ - 1).await;
    node.message("tea", LAST_MESSAGE_SEQ).await;
    node.bus.trim(&feed("tea"), 0);
    node.message("tea", LAST_MESSAGE_SEQ + 1).await;
    let heard = alice.hear_until("logged 8").await;
    assert!(heard[0].contains(r#""messages_restored":true"#), "{heard:#?}");
    assert!(heard[1].contains("the Store's 6") && heard[2].contains("the Store's 7"), "{heard:#?}");
    assert_eq!(heard.len(), 4, "{heard:#?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_to_be_restored_if_nobody_knows_where_to_begin() {
    let node = Node::start();
    node.note("tea", "no message").await;
    let alice = node.attach("alice").await;
    followed(alice.subscribe(&["tea"]).await);
    node.bus.drop_live(&feed("tea"), 1);
    node.message("tea", LAST_MESSAGE_SEQ).await;
    node.bus.trim(&feed("tea"), 0);
    node.message("tea", LAST_MESSAGE_SEQ + 1).await;
    let heard = alice.hear_until("logged 8").await;
    assert!(heard[0].contains(r#""messages_restored":false"#), "{heard:#?}");
    assert_eq!(heard.len(), 2, "{heard:#?}");
}
