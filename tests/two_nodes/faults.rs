//! What can happen to Redis while messages flow.

use std::fs;

use serde_json::Value;

use crate::harness::client::{numbered, send, text_of};
use crate::harness::nodes::Nodes;
use crate::harness::runner::{eventually, within};
use crate::harness::seen::Seen;
use crate::harness::transport::Transport;

tests! {
    live_links_that_are_killed_again_and_again_lose_nothing,
    a_redis_that_comes_back_empty_is_told_as_a_gap_and_then_it_flows_on,
    an_event_that_was_logged_but_not_published_comes_with_the_next_one,
    a_send_that_was_handed_on_and_never_answered_is_not_said_to_be_undone,
}

async fn live_links_that_are_killed_again_and_again_lose_nothing() {
    const COUNT: usize = 300;
    let nodes = Nodes::start().await;
    let mut writer = nodes.user("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut here = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let mut there = nodes.user_at_b("carol").attach_to(Transport::Sse, &["tea"]).await;
    let texts = numbered("m", COUNT);
    let mut hand = nodes.redis.by_hand();
    let sending = async {
        for some in texts.chunks(10) {
            let killed: usize =
                redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).query(&mut hand).unwrap();
            assert!(killed <= 3, "two nodes and the Store");
            writer.say_all("tea", some).await;
        }
    };
    let (mut by_here, mut by_there) = (Seen::default(), Seen::default());
    tokio::join!(sending, by_here.listen(&mut here, COUNT), by_there.listen(&mut there, COUNT));
    assert_eq!(by_here.texts, texts);
    assert_eq!(by_there.texts, texts);
}

async fn a_redis_that_comes_back_empty_is_told_as_a_gap_and_then_it_flows_on() {
    let nodes = Nodes::start().await;
    let mut writer = nodes.user("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut reader = nodes.user_at_b("alice").attach_to(Transport::Ws, &["tea"]).await;
    writer.say_all("tea", &numbered("before", 5)).await;
    reader.texts(5).await;
    nodes.redis.restart();
    // The Store commits whatever the bus does; it is told when the bus is back.
    writer.say("tea", "after").await;
    let gap = reader.event_where("the dialog's gap", |e| e["type"] == "gap" && e["dialog_id"] == "tea").await;
    assert_eq!(gap["reason"], "log_reset", "{gap}");
    // It may come twice: from the Store's history in place of the lost log, and once it is in the new one.
    reader.next_message_is("after").await;
    writer.say_all("tea", &numbered("then", 5)).await;
    let mut texts = Vec::new();
    while texts.len() < 5 {
        let message = reader.message().await;
        if text_of(&message) != "after" || !texts.is_empty() {
            texts.push(text_of(&message).to_owned());
        }
    }
    assert_eq!(texts, numbered("then", 5));
    // Sessions can move again, too.
    let place = nodes.at_b(nodes.user("dave").attach_to(Transport::Ws, &["tea"]).await.cut());
    assert_eq!(place.attach(Transport::Ws).await.resume(), "rebuilt");
}

async fn an_event_that_was_logged_but_not_published_comes_with_the_next_one() {
    let nodes = Nodes::start().await;
    let mut writer = nodes.user("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut reader = nodes.user_at_b("alice").attach_to(Transport::Ws, &["tea"]).await;
    writer.say("tea", "first").await;
    reader.next_message_is("first").await;
    let script = include_str!("../../src/adapters/outbound/redis/publish.lua");
    let loud = |line: &&str| line.starts_with("redis.call('SPUBLISH'");
    assert_eq!(script.lines().filter(loud).count(), 1);
    let silent = script.lines().filter(|line| !loud(line)).collect::<Vec<_>>().join("\n");
    let mut hand = nodes.redis.by_hand();
    let (_, offset, _): (String, u64, String) = redis::Script::new(&silent)
        .key("edgeway:{d:tea}:log")
        .key("edgeway:{d:tea}:meta")
        .key("edgeway:{d:tea}:live")
        .arg(r#"{"type":"x.note","dialog_id":"tea","note":"unheard of"}"#)
        .arg("x:1")
        .arg(1000)
        .arg(86400)
        .invoke(&mut hand)
        .unwrap();
    assert_eq!(offset, 2);
    writer.say("tea", "third").await;
    for client in [&mut reader, &mut writer] {
        let note = client.event_where("the note or a message", |e| e["offset"].as_u64() > Some(1)).await;
        assert_eq!((&note["type"], &note["offset"]), (&"x.note".into(), &2.into()), "{note}");
        let third = client.message().await;
        assert_eq!((text_of(&third), &third["offset"]), ("third", &3.into()));
    }
    let repaired = eventually("the repair to be counted", || async {
        let (_, metrics) = nodes.b.admin("/metrics").await;
        metrics.contains("edgeway_bus_repairs_total{reason=\"hole\"}").then_some(())
    });
    within("the metrics", repaired).await;
}

async fn a_send_that_was_handed_on_and_never_answered_is_not_said_to_be_undone() {
    let nodes = Nodes::start().await;
    let reader = nodes.user("alice").attach_to(Transport::Sse, &["tea"]).await;
    let there = nodes.b.user(reader.user());
    // The session's node has the command, and hangs over it.
    nodes.a.server().program().signal("-STOP");
    let url = nodes.b.url(&format!("/v1/commands?session={}", reader.session()));
    let post = nodes.b.http().post(url).bearer_auth(there.token()).header("content-type", "application/json");
    let post = post.body(send("tea", "c1", "was I heard?").to_string()).send();
    let servers = async {
        eventually("the command to lie before the session's node", || async {
            waits_unread(nodes.a.server().address().port()).then_some(())
        })
        .await;
        // From here on nobody can find out whether the session may be rebuilt at the other.
        nodes.redis.signal("-STOP");
    };
    let (answer, ()) = tokio::join!(post, servers);
    nodes.redis.signal("-CONT");
    nodes.a.server().program().signal("-CONT");
    let answer = answer.unwrap();
    let status = answer.status();
    let error: Value = answer.json().await.unwrap();
    assert_eq!((status.as_u16(), &error["type"]), (503, &"error".into()), "{error}");
    assert_eq!(error["unknown_outcome"], true, "{error}");
}

/// Whether something was sent to a port of this machine and nobody has read it yet (`/proc/net/tcp`, proc(5)).
fn waits_unread(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_there = fields[1].ends_with(&format!(":{port:04X}"));
        is_there && fields[3] == "01" && !fields[4].ends_with(":00000000")
    })
}
