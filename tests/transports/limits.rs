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
    all_sessions_of_a_user_together_have_a_rate_too,
    who_does_not_mind_refusals_is_sent_away_for_a_while_and_nobody_else_is,
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

async fn all_sessions_of_a_user_together_have_a_rate_too(on: Transport) {
    /// Four times what one session may: 4 per second, 8 at once.
    const AT_ONCE: usize = 8;
    const PER_SECOND: f64 = 4.0;
    let stage = Stage::with(&[("EDGEWAY__LIMITS__SENDS_PER_SECOND", "1")]);
    let alice = stage.user("alice").await;
    let dialog = unique("d");
    let mut clients = Vec::new();
    for _ in 0..2 * AT_ONCE {
        clients.push(alice.attach(on).await);
    }
    let began = tokio::time::Instant::now();
    let mut accepted = 0;
    for client in &mut clients {
        let reply = client.command(send(&dialog, &unique("c"), "one each")).await;
        if reply["type"] == "ok" {
            accepted += 1;
        } else {
            check::error(&reply, "rate_limited");
            assert!(check::number(&reply, "retry_after_ms") > 0, "{reply}");
        }
    }
    let earned = (began.elapsed().as_secs_f64() * PER_SECOND).ceil() as usize;
    assert!((AT_ONCE..=AT_ONCE + earned).contains(&accepted), "{accepted} in {:?}", began.elapsed());
    // Another user has a rate of its own.
    stage.user("bob").await.attach(on).await.say(&dialog, "from bob").await;
}

async fn who_does_not_mind_refusals_is_sent_away_for_a_while_and_nobody_else_is(on: Transport) {
    const FLOOD: usize = 640;
    const BATCH: usize = 64;
    let stage = Stage::with(&[("EDGEWAY__LIMITS__COMMANDS_PER_SECOND", "5")]);
    let alice = stage.user("alice").await;
    let mut neighbour = alice.attach(on).await;
    let mut client = alice.attach(on).await;
    client.hold().await;
    let ping = json!({ "type": "ping" });
    let ended = if on == Transport::Ws {
        for _ in 0..FLOOD {
            client.fire_if_open(&ping).await;
        }
        let ended = client.ended().await;
        assert_eq!(ended.close, Some(4102), "{ended:?}");
        ended
    } else {
        let batch: serde_json::Value = vec![ping; BATCH].into();
        let mut refused = None;
        for _ in 0..FLOOD / BATCH {
            let answer = alice.post(client.session(), &batch).await;
            if answer.status != 200 {
                refused = Some(answer);
                break;
            }
        }
        // Each command by itself at first, then all of a batch.
        refused.expect("the flood is stopped").assert_refused("rate_limited");
        client.ended().await
    };
    match on {
        Transport::Ws | Transport::Sse => {
            assert_eq!(ended.goaway_reason(), "rate_limited", "{ended:?}");
            let goaway = ended.goaway.as_ref().expect("it was just read");
            assert!(check::number(goaway, "reconnect_after_ms") > 0, "{ended:?}");
        }
        Transport::Poll => ended.assert_refused("rate_limited"),
    }
    // Not let in at once; but the session is still there afterwards.
    let place = client.place();
    let outcome = alice.try_attach(on, place.again()).await;
    match (on, outcome) {
        (Transport::Sse, Err(ended)) => assert_eq!(ended.goaway_reason(), "rate_limited", "{ended:?}"),
        (_, Err(ended)) => ended.assert_refused("rate_limited"),
        (_, Ok(client)) => panic!("a flood is not let in again at once: {client}"),
    }
    let again = eventually("the session to be let in", async || {
        alice.try_attach(on, place.again()).await.ok().map(|client| client.resume().to_owned())
    });
    assert_eq!(again.await, "resumed");
    // Meanwhile nobody else was harmed.
    neighbour.hold().await;
    assert_eq!(neighbour.ok(json!({ "type": "ping" })).await["type"], "pong");
}
