//! Limits that are told, on a server where they are small.

use serde_json::json;

use crate::harness::attach::Attach;
use crate::harness::check;
use crate::harness::client::send;
use crate::harness::names::unique;
use crate::harness::runner::eventually;
use crate::harness::server::Settings;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

on_every_transport! {
    sends_above_the_rate_are_refused_and_told_when_to_come_back,
    sessions_above_the_limit_are_refused,
    subscriptions_above_the_limit_are_failed_entries,
}

const SMALL: Settings = &[
    ("EDGEWAY__LIMITS__SENDS_PER_SECOND", "2"),
    ("EDGEWAY__LIMITS__SESSIONS_PER_USER", "3"),
    ("EDGEWAY__LIMITS__SUBSCRIPTIONS", "3"),
];

async fn sends_above_the_rate_are_refused_and_told_when_to_come_back(on: Transport) {
    let stage = Stage::with(SMALL);
    let alice = stage.user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(on, &[&dialog]).await;
    // Twice the rate at once is allowed; forty at once are not.
    let sends = (1..=40).map(|n| send(&dialog, &unique("c"), &format!("m {n}"))).collect();
    let replies = client.commands(sends).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply["type"] == "ok");
    assert!(accepted.len() >= 2, "a burst is allowed: {replies:?}");
    assert!(!refused.is_empty(), "forty at once are too many: {replies:?}");
    for reply in &refused {
        check::error(reply, "rate_limited");
        assert!(check::number(reply, "retry_after_ms") > 0, "{reply}");
    }
    // What was refused was not done; and the limit lets go again.
    client.texts(accepted.len()).await;
    let client = tokio::sync::Mutex::new(client);
    let again = eventually("the limit to let go", async || {
        let reply = client.lock().await.command(send(&dialog, &unique("c"), "again")).await;
        (reply["type"] == "ok").then_some(reply)
    });
    again.await;
    client.into_inner().next_message_is("again").await;
}

async fn sessions_above_the_limit_are_refused(on: Transport) {
    let alice = Stage::with(SMALL).user("alice").await;
    let one = alice.attach(on).await;
    let _two = alice.attach(on).await;
    // Within the resume window it counts though it isn't attached.
    let three = alice.attach(on).await.cut();
    match alice.try_attach(on, Attach::new()).await {
        Err(ended) => ended.assert_refused("limit_exceeded"),
        Ok(client) => panic!("a fourth session of three was let in: {client}"),
    }
    // A session that is there is no new one, and one that ended makes room.
    assert_eq!(three.attach(on.other()).await.resume(), "resumed");
    alice.delete(one.session()).await;
    assert_eq!(alice.attach(on).await.resume(), "new");
}

async fn subscriptions_above_the_limit_are_failed_entries(on: Transport) {
    let alice = Stage::with(SMALL).user("alice").await;
    let mut client = alice.attach(on).await;
    let dialogs: Vec<String> = (0..4).map(|_| unique("d")).collect();
    let reply = client.ok(json!({ "type": "subscribe", "dialogs": dialogs })).await;
    assert_eq!(check::list(&reply, "dialogs").len(), 3, "{reply}");
    let failed = check::list(&reply, "failed");
    assert_eq!(failed.len(), 1, "{reply}");
    assert_eq!(failed[0]["code"], "limit_exceeded", "{reply}");

    let kept = check::text(&reply["dialogs"][0], "dialog_id").to_owned();
    client.ok(json!({ "type": "unsubscribe", "dialogs": [kept] })).await;
    client.subscribe(&[check::text(&failed[0], "dialog_id")]).await;
}
