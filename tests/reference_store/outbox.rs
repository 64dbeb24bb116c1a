//! Nothing that happened is lost on its way to the bus, and each feed keeps its order.

use std::sync::Arc;

use edgeway::application::ports::store::{HistoryRange, MessageStore};
use edgeway::reference_store::database::Database;

use crate::harness::{RecordingLog, call, dialog, draft, open_store, serve};

fn seqs(log: &RecordingLog, feed: &str) -> Vec<u64> {
    log.of(feed).iter().map(|recorded| recorded.event["message"]["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn while_the_bus_is_down_events_wait_and_then_come_in_order() {
    let store = open_store().await;
    store.log.refuse_next(3);
    let alice = call("alice");
    for n in 0..50 {
        for id in ["d1", "d2"] {
            store.client.send(&alice, &draft(id, &format!("{id}-{n}"), "x")).await.unwrap();
        }
    }
    let published = store.log.until_appended(100).await;
    assert_eq!(published.len(), 100, "once each");
    for feed in ["d:d1", "d:d2"] {
        assert_eq!(seqs(&store.log, feed), (1..=50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_feed_that_can_not_be_appended_to_does_not_hold_up_the_others() {
    const STUCK: u64 = 40;
    let store = open_store().await;
    let alice = call("alice");
    store.log.refuse_feed(Some("d:stuck"));
    for n in 0..STUCK {
        store.client.send(&alice, &draft("stuck", &format!("s{n}"), "x")).await.unwrap();
    }
    store.log.until_refused(1).await;
    for n in 0..5 {
        store.client.send(&alice, &draft("d1", &format!("c{n}"), "x")).await.unwrap();
    }
    store.log.until_appended(5).await;
    assert_eq!(seqs(&store.log, "d:d1"), [1, 2, 3, 4, 5]);
    store.log.refuse_feed(None);
    store.log.until_appended(45).await;
    assert_eq!(seqs(&store.log, "d:stuck"), (1..=STUCK).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_is_opened_again_has_its_messages_and_publishes_what_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::File(folder.path().join("store.db"));
    let alice = call("alice");
    let down = Arc::new(RecordingLog::default());
    down.refuse_next(usize::MAX);
    let store = serve(database.clone(), true, down.clone()).await;
    let mut sent = Vec::new();
    for n in 0..3 {
        sent.push(store.client.send(&alice, &draft("d1", &format!("c{n}"), "x")).await.unwrap().message);
    }
    down.until_refused(1).await;
    store.stop().await;
    assert!(down.all().is_empty());

    let store = serve(database.clone(), true, Arc::default()).await;
    store.log.until_appended(3).await;
    assert_eq!(seqs(&store.log, "d:d1"), [1, 2, 3]);
    let page = store.client.history(&alice, &dialog("d1"), HistoryRange::Newest, 10).await.unwrap();
    assert_eq!(page.messages, sent);
    assert!(store.client.send(&alice, &draft("d1", "c0", "x")).await.unwrap().duplicate);
    assert_eq!(store.client.send(&alice, &draft("d1", "c3", "x")).await.unwrap().message.seq, 4);
    store.log.until_appended(4).await;
    store.stop().await;

    let store = serve(database, true, Arc::default()).await;
    store.client.send(&alice, &draft("d1", "c4", "x")).await.unwrap();
    store.log.until_appended(1).await;
    assert_eq!(seqs(&store.log, "d:d1"), [5], "what was published is not published again");
    store.stop().await;
}
