//! Sending, reading, paging.

use edgeway::application::ports::store::{HistoryRange, MessageStore, StoreError};
use edgeway::domain::body::{Attachment, MessageBody};
use edgeway::domain::message::Draft;
use edgeway::proto::store::v1 as proto;
use edgeway::proto::store::v1::message_store_client::MessageStoreClient;
use futures_util::future::join_all;
use tonic::Code;

use crate::harness::{call, dialog, draft, members_only_store, open_store, url};

#[tokio::test]
async fn ten_equal_sends_at_once_are_one_message_with_ten_equal_answers() {
    let store = open_store().await;
    let (alice, hello) = (call("alice"), draft("d1", "c1", "hello"));
    let answers = join_all((0..10).map(|_| store.client.send(&alice, &hello))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|sent| sent.duplicate).count(), 9);
    assert!(answers.iter().all(|sent| sent.message == answers[0].message));
    let page = store.client.history(&alice, &dialog("d1"), HistoryRange::Newest, 10).await.unwrap();
    assert_eq!(page.messages, [answers[0].message.clone()]);
    assert!(!page.has_more);
    store.client.send(&alice, &draft("d1", "c2", "next")).await.unwrap();
    let published = store.log.until_appended(2).await;
    assert_eq!(published.len(), 2, "a repeat is not published");
}

#[tokio::test]
async fn a_message_keeps_every_field_and_is_published_as_the_clients_see_it() {
    let store = open_store().await;
    let alice = call("alice");
    let first = store.client.send(&alice, &draft("d1", "c1", "first")).await.unwrap().message;
    let attachment = |url: Option<&str>| Attachment {
        id: "a1".into(),
        name: "photo.png".into(),
        mime: "image/png".into(),
        size: 12,
        url: url.map(Into::into),
    };
    let body =
        MessageBody::new("né\n".into(), vec![attachment(Some("https://x/a1")), attachment(None)]).unwrap();
    let reply =
        Draft { body: body.clone(), reply_to: Some(first.message_id.clone()), ..draft("d1", "c2", "x") };
    let sent = store.client.send(&alice, &reply).await.unwrap();
    assert!(!sent.duplicate);
    assert_eq!((sent.message.seq, sent.message.sender_id.as_str()), (2, "alice"));
    assert_eq!(sent.message.body, body);
    assert_eq!(sent.message.reply_to.as_ref(), Some(&first.message_id));
    assert_eq!(store.client.send(&alice, &reply).await.unwrap().message, sent.message);

    let published = store.log.until_appended(2).await.remove(1);
    assert_eq!(published.feed, "d:d1");
    assert_eq!(published.key, format!("m:{}", sent.message.message_id));
    assert_eq!(
        published.event,
        serde_json::json!({
            "type": "message_new",
            "dialog_id": "d1",
            "message": {
                "message_id": sent.message.message_id.as_str(),
                "dialog_id": "d1",
                "seq": 2,
                "sender_id": "alice",
                "client_message_id": "c2",
                "body": {
                    "text": "né\n",
                    "attachments": [
                        {"id": "a1", "name": "photo.png", "mime": "image/png", "size": 12, "url": "https://x/a1"},
                        {"id": "a1", "name": "photo.png", "mime": "image/png", "size": 12},
                    ],
                },
                "reply_to": first.message_id.as_str(),
                "created_at": sent.message.created_at.to_string(),
            },
        })
    );
}

#[tokio::test]
async fn the_same_client_id_for_anything_else_is_a_conflict_but_not_for_another_sender() {
    let store = open_store().await;
    let alice = call("alice");
    let first = draft("d1", "c1", "hello");
    let sent = store.client.send(&alice, &first).await.unwrap();
    let reply = Draft { reply_to: Some(sent.message.message_id.clone()), ..first.clone() };
    for other in [draft("d1", "c1", "other"), draft("d2", "c1", "hello"), reply] {
        assert_eq!(store.client.send(&alice, &other).await, Err(StoreError::Conflict));
    }
    let bobs = store.client.send(&call("bob"), &first).await.unwrap();
    assert!(!bobs.duplicate);
    assert_eq!(bobs.message.seq, 2);
}

#[tokio::test]
async fn seq_has_no_holes_when_many_send_at_once_and_some_fail() {
    const SENDERS: usize = 8;
    const SENDS: usize = 25;
    let store = open_store().await;
    let sends = (0..SENDERS).map(|sender| {
        let client = &store.client;
        async move {
            let caller = call(&format!("u{sender}"));
            for n in 0..SENDS {
                let client_id = format!("c{n}");
                client.send(&caller, &draft("d1", &client_id, "x")).await.unwrap();
                let conflict = client.send(&caller, &draft("d1", &client_id, "y")).await;
                assert_eq!(conflict, Err(StoreError::Conflict));
            }
        }
    });
    join_all(sends).await;
    let expected: Vec<u64> = (1..=(SENDERS * SENDS) as u64).collect();
    let alice = call("alice");
    let page = store.client.history(&alice, &dialog("d1"), HistoryRange::Newest, 200).await.unwrap();
    assert_eq!(page.messages.iter().map(|m| m.seq).collect::<Vec<_>>(), expected);
    let published = store.log.until_appended(expected.len()).await;
    let order: Vec<u64> = published.iter().map(|p| p.event["message"]["seq"].as_u64().unwrap()).collect();
    assert_eq!(order, expected, "the log has the dialog's order");
}

#[tokio::test]
async fn history_is_read_from_either_side_in_ascending_order() {
    let store = open_store().await;
    let alice = call("alice");
    for n in 1..=10 {
        store.client.send(&alice, &draft("d1", &format!("c{n}"), "x")).await.unwrap();
    }
    let table = [
        (HistoryRange::Newest, 3, vec![8, 9, 10], true),
        (HistoryRange::Newest, 10, (1..=10).collect(), false),
        (HistoryRange::Before(8), 3, vec![5, 6, 7], true),
        (HistoryRange::Before(4), 3, vec![1, 2, 3], false),
        (HistoryRange::Before(0), 3, vec![], false),
        (HistoryRange::Before(1), 3, vec![], false),
        (HistoryRange::Before(u64::MAX), 2, vec![9, 10], true),
        (HistoryRange::After(0), 3, vec![1, 2, 3], true),
        (HistoryRange::After(7), 3, vec![8, 9, 10], false),
        (HistoryRange::After(10), 3, vec![], false),
        (HistoryRange::After(u64::MAX), 3, vec![], false),
    ];
    for (range, limit, seqs, has_more) in table {
        let page = store.client.history(&alice, &dialog("d1"), range, limit).await.unwrap();
        let found: Vec<u64> = page.messages.iter().map(|m| m.seq).collect();
        assert_eq!((found, page.has_more), (seqs, has_more), "{range:?} {limit}");
    }
    let clamped = store.client.history(&alice, &dialog("d1"), HistoryRange::Newest, u32::MAX).await.unwrap();
    assert_eq!(clamped.messages.len(), 10);
}

#[tokio::test]
async fn the_read_mark_only_goes_forward_and_not_past_the_last_message() {
    let store = open_store().await;
    let (alice, bob, d1) = (call("alice"), call("bob"), dialog("d1"));
    for n in 1..=5 {
        store.client.send(&alice, &draft("d1", &format!("c{n}"), "x")).await.unwrap();
    }
    for (seq, read_seq, unread, changed) in [
        (0, 0, 5, false),
        (3, 3, 2, true),
        (3, 3, 2, false),
        (1, 3, 2, false),
        (u64::MAX, 5, 0, true),
        (9, 5, 0, false),
    ] {
        let mark = store.client.read_upto(&bob, &d1, seq).await.unwrap();
        assert_eq!((mark.read_seq, mark.unread, mark.changed), (read_seq, unread, changed), "{seq}");
    }
    let receipts: Vec<_> = store.log.until_appended(7).await.split_off(5);
    let keys: Vec<_> = receipts.iter().map(|receipt| receipt.key.as_str()).collect();
    assert_eq!(keys, ["r:bob:3", "r:bob:5"]);
    assert_eq!(
        receipts[0].event,
        serde_json::json!({"type": "receipt", "dialog_id": "d1", "user_id": "bob", "read_seq": 3})
    );
}

#[tokio::test]
async fn what_is_malformed_is_an_invalid_argument() {
    let store = members_only_store().await;
    let mut client = MessageStoreClient::connect(url(store.address)).await.unwrap();
    let good = proto::SendRequest {
        user_id: "alice".into(),
        dialog_id: "d1".into(),
        client_message_id: "c1".into(),
        body: Some(proto::Body { text: "x".into(), attachments: vec![] }),
        reply_to: String::new(),
    };
    let bad = [
        proto::SendRequest { user_id: String::new(), ..good.clone() },
        proto::SendRequest { dialog_id: "{}".into(), ..good.clone() },
        proto::SendRequest { client_message_id: "a b".into(), ..good.clone() },
        proto::SendRequest { reply_to: "*".into(), ..good.clone() },
        proto::SendRequest { body: None, ..good.clone() },
        proto::SendRequest { body: Some(proto::Body::default()), ..good.clone() },
        proto::SendRequest {
            body: Some(proto::Body { text: "x".repeat(4097), attachments: vec![] }),
            ..good
        },
    ];
    for request in bad {
        let status = client.send(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{request:?}");
    }
    let both = proto::GetHistoryRequest {
        user_id: "alice".into(),
        dialog_id: "d1".into(),
        before_seq: Some(1),
        after_seq: Some(1),
        limit: 1,
    };
    assert_eq!(client.get_history(both).await.unwrap_err().code(), Code::InvalidArgument);
    let many = proto::CheckMembershipRequest { user_id: "alice".into(), dialog_ids: vec!["d1".into(); 201] };
    assert_eq!(client.check_membership(many).await.unwrap_err().code(), Code::InvalidArgument);
    let list =
        proto::ListDialogsRequest { user_id: "alice".into(), page_size: 1, page_token: "not a token".into() };
    assert_eq!(client.list_dialogs(list).await.unwrap_err().code(), Code::InvalidArgument);
}
