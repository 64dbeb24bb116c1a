//! Who belongs where.

use edgeway::application::ports::store::{HistoryRange, MessageStore, StoreError};
use edgeway::domain::dialog::Membership;
use edgeway::proto::store::admin::v1 as proto;
use edgeway::proto::store::admin::v1::dialog_admin_client::DialogAdminClient;
use edgeway::reference_store::failure::Failure;
use serde_json::json;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Served, call, dialog, draft, member, members_only_store, open_store, url, user};

async fn membership(store: &Served, user: &str, id: &str) -> Membership {
    store.client.check_membership(&call(user), &[dialog(id)]).await.unwrap().remove(0)
}

#[tokio::test]
async fn in_an_open_store_every_dialog_exists_and_whoever_is_seen_is_a_member() {
    let store = open_store().await;
    let alice = membership(&store, "alice", "d1").await;
    assert!(alice.readable() && alice.writable());
    assert_eq!((alice.role.as_ref(), alice.member_count, alice.version), ("member", 1, 1));
    store.client.send(&call("bob"), &draft("d1", "c1", "x")).await.unwrap();
    let alice = membership(&store, "alice", "d1").await;
    assert_eq!((alice.member_count, alice.last_message_seq, alice.version), (2, 1, 1));
    assert_eq!(store.log.until_appended(1).await.len(), 1, "being seen is no event");
}

#[tokio::test]
async fn a_created_dialog_is_closed_to_others_also_in_an_open_store() {
    for store in [open_store().await, members_only_store().await] {
        store.dialogs.create_dialog(dialog("d1"), vec![member("alice", "owner")], None).await.unwrap();
        assert_eq!(membership(&store, "alice", "d1").await.role.as_ref(), "owner");
        assert!(!membership(&store, "bob", "d1").await.member);
        let (bob, d1) = (call("bob"), dialog("d1"));
        assert_eq!(store.client.send(&bob, &draft("d1", "c1", "x")).await, Err(StoreError::NotMember));
        assert_eq!(store.client.read_upto(&bob, &d1, 1).await, Err(StoreError::NotMember));
        assert_eq!(
            store.client.history(&bob, &d1, HistoryRange::Newest, 1).await,
            Err(StoreError::NotMember)
        );
        store.client.send(&call("alice"), &draft("d1", "c1", "x")).await.unwrap();
    }
}

#[tokio::test]
async fn in_a_closed_store_an_unknown_dialog_is_not_found_and_nobody_is_its_member() {
    let store = members_only_store().await;
    let (alice, d1) = (call("alice"), dialog("d1"));
    assert_eq!(store.client.send(&alice, &draft("d1", "c1", "x")).await, Err(StoreError::NotFound));
    assert_eq!(store.client.read_upto(&alice, &d1, 1).await, Err(StoreError::NotFound));
    assert_eq!(store.client.history(&alice, &d1, HistoryRange::Newest, 1).await, Err(StoreError::NotFound));
    assert!(!membership(&store, "alice", "d1").await.member);
    assert_eq!(store.dialogs.add_member(d1.clone(), member("alice", ""), None).await, Err(Failure::NotFound));
    assert_eq!(store.dialogs.list_members(d1, None, 0).await, Err(Failure::NotFound));
}

#[tokio::test]
async fn joins_and_removals_are_told_on_the_dialogs_feed_and_on_the_users() {
    let store = members_only_store().await;
    let (dialogs, by) = (&store.dialogs, Some(user("alice")));
    dialogs.create_dialog(dialog("d1"), vec![member("alice", "owner")], None).await.unwrap();
    dialogs.create_dialog(dialog("d2"), vec![member("bob", "")], None).await.unwrap();
    let added = dialogs.add_member(dialog("d1"), member("bob", ""), by.clone()).await.unwrap();
    assert!(added.changed);
    let again = dialogs.add_member(dialog("d1"), member("bob", ""), by.clone()).await.unwrap();
    assert_eq!((again.changed, again.version), (false, added.version));
    let removed = dialogs.remove_member(dialog("d1"), user("bob"), by.clone()).await.unwrap();
    assert!(removed.changed && removed.version > added.version);
    assert!(!dialogs.remove_member(dialog("d1"), user("bob"), by).await.unwrap().changed);
    assert!(!membership(&store, "bob", "d1").await.member);

    store.log.until_appended(8).await;
    let of_dialog: Vec<_> = store.log.of("d:d1").into_iter().map(|recorded| recorded.event).collect();
    assert_eq!(
        of_dialog,
        [
            json!({"type": "membership", "dialog_id": "d1", "user_id": "alice", "change": "added", "role": "owner"}),
            json!({"type": "membership", "dialog_id": "d1", "user_id": "bob", "change": "added", "role": "member",
                   "by": "alice"}),
            json!({"type": "membership", "dialog_id": "d1", "user_id": "bob", "change": "removed", "by": "alice"}),
        ]
    );
    let of_bob = store.log.of("u:bob");
    let places: Vec<_> =
        of_bob.iter().map(|r| (r.event["dialog_id"].clone(), r.event["change"].clone())).collect();
    let pair = |dialog: &str, change: &str| (json!(dialog), json!(change));
    assert_eq!(places, [pair("d2", "added"), pair("d1", "added"), pair("d1", "removed")]);
    let keys: Vec<_> = of_bob.iter().map(|recorded| recorded.key.as_str()).collect();
    assert_eq!(keys, ["p:bob:1", "p:bob:2", "p:bob:3"], "unique in the user's feed, over all dialogs");
}

#[tokio::test]
async fn who_is_removed_from_an_open_dialog_stays_out_until_added_again() {
    let store = open_store().await;
    let bob = call("bob");
    store.client.send(&bob, &draft("d1", "c1", "x")).await.unwrap();
    store.dialogs.remove_member(dialog("d1"), user("bob"), None).await.unwrap();
    assert_eq!(store.client.send(&bob, &draft("d1", "c2", "x")).await, Err(StoreError::NotMember));
    assert!(store.client.send(&bob, &draft("d1", "c1", "x")).await.unwrap().duplicate, "it was sent");
    let removed = store.dialogs.remove_member(dialog("d1"), user("carol"), None).await.unwrap();
    assert!(removed.changed, "whom nobody has seen yet is a member, too");
    assert!(!membership(&store, "carol", "d1").await.member);
    store.dialogs.add_member(dialog("d1"), member("bob", ""), None).await.unwrap();
    store.client.send(&bob, &draft("d1", "c2", "x")).await.unwrap();
    assert_eq!(membership(&store, "bob", "d1").await.member_count, 1);
}

#[tokio::test]
async fn creating_a_dialog_that_was_only_seen_takes_it_over_once() {
    let store = open_store().await;
    membership(&store, "alice", "d1").await;
    membership(&store, "bob", "d1").await;
    let create = || store.dialogs.create_dialog(dialog("d1"), vec![member("alice", "")], None);
    create().await.unwrap();
    assert!(membership(&store, "alice", "d1").await.member);
    assert!(!membership(&store, "bob", "d1").await.member);
    assert_eq!(create().await, Err(Failure::DialogExists));
    let published = store.log.until_appended(2).await;
    assert!(published.iter().all(|r| r.event["user_id"] == "bob" && r.event["change"] == "removed"));
}

#[tokio::test]
async fn a_reader_follows_but_does_not_send() {
    let store = members_only_store().await;
    store.dialogs.create_dialog(dialog("d1"), vec![member("rita", "reader")], None).await.unwrap();
    let rita = membership(&store, "rita", "d1").await;
    assert!(rita.readable() && !rita.writable());
    let refused = store.client.send(&call("rita"), &draft("d1", "c1", "x")).await;
    assert_eq!(refused, Err(StoreError::NotMember));
    store.client.history(&call("rita"), &dialog("d1"), HistoryRange::Newest, 1).await.unwrap();
}

#[tokio::test]
async fn a_users_dialogs_come_in_pages_with_their_counts() {
    let store = members_only_store().await;
    for n in 0..5 {
        let members = vec![member("alice", ""), member("bob", "")];
        store.dialogs.create_dialog(dialog(&format!("d{n}")), members, None).await.unwrap();
    }
    store.client.send(&call("bob"), &draft("d0", "c1", "x")).await.unwrap();
    store.dialogs.remove_member(dialog("d1"), user("alice"), None).await.unwrap();
    let alice = call("alice");
    let (mut found, mut token, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let page = store.client.list_dialogs(&alice, 2, token.as_deref()).await.unwrap();
        assert!(page.dialogs.len() <= 2);
        found.extend(page.dialogs);
        pages += 1;
        token = page.next_page_token;
        if token.is_none() {
            break;
        }
    }
    assert!(pages >= 2);
    let ids: Vec<_> = found.iter().map(|d| d.dialog_id.as_str()).collect();
    assert_eq!(ids, ["d0", "d2", "d3", "d4"]);
    assert_eq!((found[0].last_message_seq, found[0].unread), (1, 1));
}

#[tokio::test]
async fn dialogs_are_managed_over_grpc_and_the_store_tells_its_health() {
    let store = members_only_store().await;
    let mut admin = DialogAdminClient::connect(url(store.address)).await.unwrap();
    let member = |user_id: &str| proto::Member { user_id: user_id.into(), role: String::new() };
    let create = proto::CreateDialogRequest {
        dialog_id: "d1".into(),
        members: vec![member("alice"), member("bob")],
        by: String::new(),
    };
    admin.create_dialog(create.clone()).await.unwrap();
    assert_eq!(admin.create_dialog(create.clone()).await.unwrap_err().code(), Code::AlreadyExists);
    let bad =
        proto::CreateDialogRequest { dialog_id: "d2".into(), members: vec![member("*")], by: "".into() };
    assert_eq!(admin.create_dialog(bad).await.unwrap_err().code(), Code::InvalidArgument);
    let add = proto::AddMemberRequest {
        dialog_id: "d1".into(),
        user_id: "carol".into(),
        role: "owner".into(),
        by: "alice".into(),
    };
    assert!(admin.add_member(add).await.unwrap().into_inner().changed);
    let remove =
        proto::RemoveMemberRequest { dialog_id: "d1".into(), user_id: "bob".into(), by: String::new() };
    assert!(admin.remove_member(remove).await.unwrap().into_inner().changed);
    let mut list =
        proto::ListMembersRequest { dialog_id: "d1".into(), page_size: 1, page_token: String::new() };
    let first = admin.list_members(list.clone()).await.unwrap().into_inner();
    list.page_token = first.next_page_token;
    let second = admin.list_members(list).await.unwrap().into_inner();
    let listed: Vec<_> =
        first.members.into_iter().chain(second.members).map(|m| (m.user_id, m.role)).collect();
    assert_eq!(listed, [("alice".into(), "member".into()), ("carol".into(), "owner".to_owned())]);

    let channel = Endpoint::from_shared(url(store.address)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    for service in ["", "edgeway.store.v1.MessageStore", "edgeway.store.admin.v1.DialogAdmin"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service}");
    }
}
