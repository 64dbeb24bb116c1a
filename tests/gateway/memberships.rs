//! How long the Store's word on a membership counts while it is away.

use std::time::Duration;

use edgeway::application::command::{Command, Reply, Targets};
use edgeway::domain::error::{ErrorCode, Refusal};
use edgeway::domain::ids::{FeedKey, UserId};
use edgeway::session::snapshot::SubscribeOptions;
use tokio::time::{Instant, sleep, sleep_until};

use crate::node::{Client, Node, dialog};
use crate::store::LAST_MESSAGE_SEQ;

/// How long an answer serves unasked, and while the Store is away (docs/store-integration.md).
const FRESH_FOR: Duration = Duration::from_secs(60);
const STALE_FOR: Duration = Duration::from_secs(5 * 60);
const MOMENT: Duration = Duration::from_secs(1);
/// Longer than a feed goes on without a look at its log.
const AUDITED_AFTER: Duration = Duration::from_secs(31);

fn refused(answer: Result<Reply, Refusal>) -> ErrorCode {
    answer.expect_err("it is refused").code
}

/// Follows, and says whether the Store has told where the dialog stands.
async fn follows(client: &Client, id: &str) -> Option<u64> {
    match client.subscribe(&[id]).await.unwrap() {
        Reply::Subscribed(subscribed) => {
            assert!(subscribed.failed.is_empty(), "{:?}", subscribed.failed);
            subscribed.dialogs[0].last_message_seq
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_said_serves_for_five_minutes_while_it_is_away_and_no_longer() {
    let node = Node::start();
    let alice = node.attach("alice").await;
    assert_eq!(follows(&alice, "tea").await, Some(LAST_MESSAGE_SEQ));
    let (told, asked) = (Instant::now(), node.store.asked());
    node.store.set_away(true);

    sleep_until(told + FRESH_FOR - MOMENT).await;
    alice.type_in("tea").await.unwrap();
    assert_eq!(node.store.asked(), asked, "it is fresh: nobody is asked");

    sleep_until(told + STALE_FOR - MOMENT).await;
    alice.type_in("tea").await.unwrap();
    alice.who_is_in("tea").await.unwrap();
    assert!(node.store.asked() > asked, "it is not fresh: the Store is asked first");
    assert_eq!(follows(&alice, "tea").await, None, "positions of minutes ago are not told");
    assert_eq!(refused(alice.type_in("coffee").await), ErrorCode::Unavailable, "nothing is known of it");

    // What was said from memory has not made it any younger.
    sleep_until(told + STALE_FOR + MOMENT).await;
    assert_eq!(refused(alice.type_in("tea").await), ErrorCode::Unavailable);
    assert_eq!(refused(alice.who_is_in("tea").await), ErrorCode::Unavailable);
    assert_eq!(refused(alice.subscribe(&["tea"]).await), ErrorCode::Unavailable);
    assert_eq!(refused(node.attach("alice").await.subscribe(&["tea"]).await), ErrorCode::Unavailable);

    node.store.set_away(false);
    alice.type_in("tea").await.unwrap();
    assert_eq!(follows(&alice, "tea").await, Some(LAST_MESSAGE_SEQ));
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_is_heard_while_the_store_is_away_counts_at_once() {
    let node = Node::start();
    let alice = node.attach("alice").await;
    for id in ["tea", "coffee"] {
        follows(&alice, id).await;
    }
    node.store.set_away(true);
    alice.type_in("tea").await.unwrap();
    let (tea, coffee) = (FeedKey::Dialog(dialog("tea")), FeedKey::Dialog(dialog("coffee")));
    let removal = r#"{"type":"membership","dialog_id":"tea","user_id":"alice","change":"removed"}"#;
    for feed in [&FeedKey::User(UserId::parse("alice").unwrap()), &tea] {
        node.append(feed, "removal", removal).await;
    }
    node.append(&tea, "late", r#"{"type":"x.note","dialog_id":"tea","data":"too late"}"#).await;
    node.append(&coffee, "marker", r#"{"type":"x.note","dialog_id":"coffee","data":"marker"}"#).await;
    let mut heard = alice.hear_until("removed").await;
    if !heard.iter().any(|body| body.contains("marker")) {
        heard.extend(alice.hear_until("marker").await);
    }
    assert!(!heard.iter().any(|body| body.contains("too late")), "{heard:#?}");
    assert_eq!(refused(alice.type_in("tea").await), ErrorCode::Unavailable);
    assert_eq!(refused(alice.who_is_in("tea").await), ErrorCode::Unavailable);
    assert_eq!(refused(alice.subscribe(&["tea"]).await), ErrorCode::Unavailable);
    alice.type_in("coffee").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_removal_from_before_the_joining_that_a_feed_hears_of_late_ends_nothing() {
    let node = Node::start();
    let alice = node.attach("alice").await;
    let options = SubscribeOptions { presence: false, typing: true };
    alice.ask(Command::Subscribe { targets: Targets::All, options }).await.unwrap();
    let (tea, own) = (FeedKey::Dialog(dialog("tea")), FeedKey::User(UserId::parse("alice").unwrap()));
    let change = async |key: &str, change: &str| {
        let json =
            format!(r#"{{"type":"membership","dialog_id":"tea","user_id":"alice","change":"{change}"}}"#);
        node.append(&tea, key, &json).await;
        node.append(&own, key, &json).await;
        alice.hear_until(change).await;
        sleep(MOMENT).await;
    };
    change("first", "added").await;
    // The dialog's own feed hears nothing of what follows.
    node.bus.drop_live(&tea, 2);
    node.store.remove("alice", &dialog("tea"));
    change("second", "removed").await;
    node.store.add("alice", &dialog("tea"));
    change("third", "added").await;
    sleep(AUDITED_AFTER).await;
    let note = r#"{"type":"x.note","dialog_id":"tea","data":"still here"}"#;
    node.append(&tea, "note", note).await;
    alice.hear_until("still here").await;
}
