//! A Store of which one part fails: the gateway's client keeps it from the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use edgeway::adapters::outbound::store_grpc::client::GrpcMessageStore;
use edgeway::adapters::outbound::store_grpc::config::Config;
use edgeway::adapters::outbound::store_grpc::retry::Deadline;
use edgeway::application::ports::store::{HistoryRange, MessageStore, StoreError};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{call, client, dialog, draft, url};
use crate::troubled::{Trouble, troubled};

#[tokio::test]
async fn sends_that_hang_leave_every_other_method_as_it_is() {
    /// More than there is room for, at the gateway and on one connection.
    const SENDS: usize = 400;
    const SHORT: Deadline =
        Deadline { attempt: Duration::from_millis(400), total: Duration::from_millis(1000) };
    let store = troubled(Trouble::SendsHang, None).await;
    let client: Arc<GrpcMessageStore> = client(Config { send: SHORT, ..Config::new(url(store.address)) });
    let mut sends = JoinSet::new();
    for n in 0..SENDS {
        let client = client.clone();
        sends.spawn(
            async move { client.send(&call("alice"), &draft("d1", &format!("c{n}"), "x")).await.err() },
        );
    }
    let (alice, d1) = (call("alice"), dialog("d1"));
    let mut rounds = 0;
    while !sends.is_empty() {
        // Each within its own deadline.
        client.check_membership(&alice, std::slice::from_ref(&d1)).await.unwrap();
        client.read_upto(&alice, &d1, 1).await.unwrap();
        client.history(&alice, &d1, HistoryRange::Newest, 1).await.unwrap();
        client.list_dialogs(&alice, 1, None).await.unwrap();
        rounds += 1;
        assert!(!client.circuit_open(), "one method is not the Store");
        while let Some(ended) = sends.try_join_next() {
            let error = ended.unwrap().expect("a send that hangs fails");
            assert!(matches!(error, StoreError::Timeout | StoreError::Unavailable), "{error}");
        }
    }
    assert!(store.sends.load(Ordering::SeqCst) >= 192, "they were under way");
    assert!(rounds > 1, "the others went on meanwhile");
}

#[tokio::test]
async fn the_stores_advice_on_when_to_come_again_is_followed() {
    let after = Duration::from_millis(200);
    let store = troubled(Trouble::ComeAgain(after), None).await;
    let client = client(Config::new(url(store.address)));
    let began = Instant::now();
    client.send(&call("alice"), &draft("d1", "c1", "x")).await.unwrap();
    assert!(began.elapsed() >= after);
    assert_eq!(store.sends.load(Ordering::SeqCst), 2);

    let store = troubled(Trouble::ComeAgain(Duration::from_secs(60)), None).await;
    let client = crate::harness::client(Config::new(url(store.address)));
    let told = client.send(&call("alice"), &draft("d1", "c1", "x")).await;
    let retry_after = Some(Duration::from_secs(60));
    assert_eq!(told, Err(StoreError::RateLimited { retry_after }), "beyond the deadline it is the client's");
}
