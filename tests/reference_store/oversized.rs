//! A Store that answers with more than anybody asked for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use edgeway::adapters::outbound::store_grpc::config::{Config, REPLY_MAX_BYTES};
use edgeway::adapters::outbound::store_grpc::retry::Deadline;
use edgeway::application::ports::store::{HISTORY_PAGE_MAX, HistoryRange, MessageStore, StoreError};
use edgeway::domain::body::TEXT_MAX_CHARS;

use crate::harness::{call, client, dialog, draft, url};
use crate::troubled::{Trouble, Troubled, troubled};

const ROUNDS: usize = 10;
/// Whether an answer is too long is not a matter of time, however busy the machine is.
const PATIENT: Deadline = Deadline { attempt: Duration::from_secs(20), total: Duration::from_secs(40) };

fn patient(store: &Troubled) -> Config {
    Config { send: PATIENT, list: PATIENT, check_membership: PATIENT, ..Config::new(url(store.address)) }
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_given_up_at_once_and_hurts_no_other_call() {
    let store = troubled(Trouble::LongAnswers(REPLY_MAX_BYTES), None).await;
    let client = client(patient(&store));
    let (alice, d1) = (call("alice"), dialog("d1"));
    store.behind.client.send(&alice, &draft("d1", "c1", "x")).await.unwrap();
    for _ in 0..ROUNDS {
        let (long, other) = tokio::join!(
            client.history(&alice, &d1, HistoryRange::Newest, 1),
            client.check_membership(&alice, std::slice::from_ref(&d1)),
        );
        assert_eq!(long, Err(StoreError::Internal));
        other.unwrap();
    }
    assert_eq!(store.histories.load(Ordering::SeqCst), ROUNDS, "asked again it would be as long");
    assert!(!client.circuit_open(), "the Store is there");
}

#[tokio::test]
async fn a_send_whose_answer_is_too_long_was_made_and_is_found_when_it_is_repeated() {
    let store = troubled(Trouble::LongAnswers(REPLY_MAX_BYTES), None).await;
    let client = client(patient(&store));
    let (alice, draft) = (call("alice"), draft("d1", "c1", "x"));
    assert_eq!(client.send(&alice, &draft).await, Err(StoreError::Internal));
    assert!(client.send(&alice, &draft).await.unwrap().duplicate);
    assert_eq!(store.sends.load(Ordering::SeqCst), 2);
}

/// The longest page that the contract allows: what the bound is made for.
#[tokio::test]
async fn the_longest_answer_that_is_allowed_arrives() {
    let store = troubled(Trouble::None, None).await;
    let client = client(patient(&store));
    let (alice, d1) = (call("alice"), dialog("d1"));
    for n in 0..HISTORY_PAGE_MAX {
        // Four bytes a character.
        let text = "😀".repeat(TEXT_MAX_CHARS);
        client.send(&alice, &draft("d1", &format!("c{n}"), &text)).await.unwrap();
    }
    let page = client.history(&alice, &d1, HistoryRange::Newest, HISTORY_PAGE_MAX).await.unwrap();
    assert_eq!(page.messages.len(), HISTORY_PAGE_MAX as usize);
}
