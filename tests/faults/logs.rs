//! Logs are flushed, trimmed, and hold what nobody was told.

use std::time::Duration;

use serde_json::{Value, json};

use crate::by_hand::{call, log_by_hand, publish_by_hand};
use crate::crowd::Crowd;
use crate::harness::client::{numbered, text_of};
use crate::harness::nodes::Nodes;
use crate::harness::transport::Transport;

const RATE: usize = 500;
const A_WHILE: Duration = Duration::from_secs(1);

tests! {
    a_redis_that_is_flushed_costs_a_gap_and_nothing_else,
    a_log_that_was_trimmed_past_a_reader_is_told_as_a_gap,
    an_event_that_nobody_was_told_of_comes_before_the_next_one,
    an_event_that_nobody_was_told_of_is_found_by_the_audit,
    a_store_that_appends_and_publishes_command_by_command_is_heard,
}

async fn a_redis_that_is_flushed_costs_a_gap_and_nothing_else() {
    let nodes = Nodes::start().await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    for _ in 0..2 {
        crowd.goes_on(A_WHILE).await;
        let () = call(&nodes.redis, "FLUSHALL", &[]);
    }
    crowd.goes_on(A_WHILE).await;
    let verdict = crowd.verdict().await;
    assert!(verdict.gaps > 0, "{verdict:?}");
}

/// By its cursor a session is told from where on it lacks something. By `since` a client also says which message was its
/// last, so that the Store can make up for the others.
async fn a_log_that_was_trimmed_past_a_reader_is_told_as_a_gap() {
    const MISSED: usize = 60;
    const LEFT: usize = 10;
    let nodes = Nodes::start().await;
    for on in Transport::ALL {
        // One for each: a feed remembers for a while what a log has lost.
        let dialog = &*on.to_string();
        let mut writer = nodes.user("bob").attach_to(Transport::Ws, &[dialog]).await;
        let base = format!("{on} before");
        let mut reader = nodes.user("alice").attach_to(on, &[dialog]).await;
        writer.say(dialog, &base).await;
        let last = reader.next_message_is(&base).await;
        let offset = last["offset"].as_u64().unwrap();
        let place = nodes.at_b(reader.cut());
        let texts = numbered(&on.to_string(), MISSED);
        writer.say_all(dialog, &texts).await;
        writer.events_until(&texts[MISSED - 1]).await;
        let _: u64 = call(
            &nodes.redis,
            "XTRIM",
            &[&format!("edgeway:{{d:{dialog}}}:log"), "MAXLEN", &LEFT.to_string()],
        );
        let until = offset + (MISSED - LEFT) as u64;

        // By WebSocket: the others' requests are handed on to the first node, which has all in memory.
        let mut reader = place.attach(Transport::Ws).await;
        assert_eq!(reader.resume(), "rebuilt", "{reader}");
        let gap = reader.event_where("the gap", is_gap).await;
        assert_eq!((&gap["reason"], &gap["to_offset"]), (&"trimmed".into(), &until.into()), "{gap}");
        assert!(gap["from_offset"].as_u64().unwrap() <= offset + 1, "{gap}");
        let heard = reader.events_until(&texts[MISSED - 1]).await;
        let logged = heard.iter().filter(|event| event["restored"] != true).count();
        assert_eq!(logged, LEFT, "{reader}");

        let mut reader = nodes.user_at_b("carol").attach(on).await;
        let since = json!({ "epoch": gap["epoch"], "offset": offset, "message_seq": last["message"]["seq"] });
        let dialogs = json!([{ "dialog_id": dialog, "since": since }]);
        reader.ok(json!({ "type": "subscribe", "dialogs": dialogs })).await;
        let gap = reader.event_where("the gap", is_gap).await;
        assert_eq!((&gap["reason"], &gap["messages_restored"]), (&"trimmed".into(), &true.into()), "{gap}");
        assert_eq!((&gap["from_offset"], &gap["to_offset"]), (&(offset + 1).into(), &until.into()), "{gap}");
        assert_eq!(reader.texts(MISSED).await, texts);
    }
}

fn is_gap(event: &Value) -> bool {
    event["type"] == "gap" && event["feed"] != "user"
}

async fn an_event_that_nobody_was_told_of_comes_before_the_next_one() {
    let nodes = Nodes::start().await;
    let mut writer = nodes.user("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut readers = Vec::new();
    for on in Transport::ALL {
        readers.push(nodes.user_at_b("alice").attach_to(on, &["tea"]).await);
    }
    for round in 0..5 {
        let base = format!("round {round}");
        writer.say("tea", &base).await;
        for reader in &mut readers {
            reader.next_message_is(&base).await;
        }
        let note = json!({ "type": "x.note", "dialog_id": "tea", "data": { "round": round } });
        let (_, offset, _) = log_by_hand(&nodes.redis, "tea", &note.to_string());
        writer.say("tea", "and on").await;
        for reader in &mut readers {
            let heard = reader.event_of("x.note").await;
            assert_eq!((&heard["offset"], &heard["data"]["round"]), (&offset.into(), &round.into()));
            assert_eq!(reader.next_message_is("and on").await["offset"], offset + 1);
        }
    }
}

/// It is compared every 30 seconds.
async fn an_event_that_nobody_was_told_of_is_found_by_the_audit() {
    const AUDITED_WITHIN: Duration = Duration::from_secs(35);
    let nodes = Nodes::start().await;
    let mut reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let mut other = nodes.user_at_b("bob").attach_to(Transport::Sse, &["tea"]).await;
    let note = json!({ "type": "x.note", "dialog_id": "tea", "data": 7 });
    log_by_hand(&nodes.redis, "tea", &note.to_string());
    let found = tokio::time::timeout(AUDITED_WITHIN, async {
        for client in [&mut reader, &mut other] {
            let heard = loop {
                let event = client.event_or_end().await.expect("the line stays");
                if event["type"] == "x.note" {
                    break event;
                }
            };
            assert_eq!((&heard["offset"], &heard["data"]), (&1.into(), &7.into()), "{heard}");
        }
    });
    found.await.expect("the audit finds it");
    let (_, metrics) = nodes.a.admin("/metrics").await;
    assert!(metrics.contains("edgeway_bus_repairs_total{reason=\"audit\"} 1"), "{metrics}");
}

/// By the names and fields alone, without the script.
async fn a_store_that_appends_and_publishes_command_by_command_is_heard() {
    let nodes = Nodes::start().await;
    let mut reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let mut other = nodes.user_at_b("bob").attach_to(Transport::Poll, &["tea"]).await;
    for n in 1..=20_u64 {
        let event = json!({
            "type": "message_new",
            "dialog_id": "tea",
            "message": {
                "message_id": format!("m{n}"), "dialog_id": "tea", "seq": n, "sender_id": "carol",
                "client_message_id": format!("c{n}"), "body": { "text": format!("by hand {n}") },
                "created_at": "2026-11-22T21:26:00.000Z",
            },
        })
        .to_string();
        let (epoch, offset, id) = log_by_hand(&nodes.redis, "tea", &event);
        assert_eq!(offset, n);
        publish_by_hand(&nodes.redis, "tea", &format!("{epoch} {offset} {id}\n{event}"));
    }
    for client in [&mut reader, &mut other] {
        for n in 1..=20_u64 {
            let message = client.message().await;
            assert_eq!((text_of(&message), &message["offset"]), (&*format!("by hand {n}"), &n.into()));
        }
    }
}
