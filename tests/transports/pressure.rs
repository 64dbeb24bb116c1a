//! A node whose memory budget is tiny: it turns newcomers away, and loses nothing of what it has.

use serde_json::json;

use crate::harness::attach::Attach;
use crate::harness::check;
use crate::harness::client::{send, text_of};
use crate::harness::names::unique;
use crate::harness::runner::eventually;
use crate::harness::server::Settings;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

on_every_transport! {
    over_its_budget_a_node_turns_newcomers_away_and_those_who_are_there_lose_nothing,
}

const QUEUE: (&str, &str) = ("EDGEWAY__SESSION__QUEUE_BYTES", "64KiB");
const BUDGET: &str = "EDGEWAY__SESSION__MEMORY_BUDGET";

/// A server for each transport: one test must not fill another's.
fn tiny(on: Transport) -> Settings {
    match on {
        Transport::Ws => &[QUEUE, (BUDGET, "256KiB")],
        Transport::Sse => &[QUEUE, (BUDGET, "257KiB")],
        Transport::Poll => &[QUEUE, (BUDGET, "258KiB")],
    }
}

async fn over_its_budget_a_node_turns_newcomers_away_and_those_who_are_there_lose_nothing(on: Transport) {
    /// Together well over the budget, each alone within a queue's bounds.
    const AWAY: usize = 10;
    const MESSAGES: usize = 12;
    const LETTERS: usize = 4000;
    let stage = Stage::with(tiny(on));
    let alice = stage.user("alice").await;
    let mut writer = alice.attach(on).await;
    let mut away = Vec::new();
    for _ in 0..AWAY {
        let dialog = unique("d");
        let place = alice.attach_to(on, &[&dialog]).await.cut();
        away.push((dialog, place));
    }
    let text = |n: usize| format!("{n} {}", "x".repeat(LETTERS));
    for (dialog, _) in &away {
        let sends = (0..MESSAGES).map(|n| send(dialog, &unique("c"), &text(n))).collect();
        for reply in writer.commands(sends).await {
            assert_eq!(reply["type"], "ok", "{reply}");
        }
    }

    // Newcomers are told to come again.
    let bob = stage.user("bob").await;
    let refused =
        eventually("newcomers to be turned away", async || bob.try_attach(on, Attach::new()).await.err());
    let refused = refused.await;
    if on == Transport::Sse {
        assert_eq!(refused.goaway_reason(), "overloaded", "{refused:?}");
    } else {
        refused.assert_refused("overloaded");
        let error = refused.error.as_ref().expect("it was just looked at");
        assert!(check::number(error, "retry_after_ms") > 0, "{error}");
    }
    // No replay is begun, either.
    let since = json!({ "dialog_id": away[0].0, "since": { "epoch": "none", "offset": 0 } });
    let reply = writer.ok(json!({ "type": "subscribe", "dialogs": [since] })).await;
    assert_eq!(reply["failed"][0]["code"], "overloaded", "{reply}");

    // Those who come back for what waits get all of it, in order.
    for (dialog, place) in away {
        let mut client = place.attach(on).await;
        assert_eq!(client.session(), place.session);
        for n in 0..MESSAGES {
            let message = client.message().await;
            assert_eq!(message["dialog_id"], *dialog, "{message}");
            assert!(text_of(&message) == text(n), "{n}: {}", &text_of(&message)[..8]);
        }
        alice.delete(client.session()).await;
    }
    // And then there is room again.
    eventually("newcomers to be let in", async || bob.try_attach(on, Attach::new()).await.ok()).await;
}
