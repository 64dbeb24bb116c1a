//! What can happen between a node and the Store while messages flow.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::chaos_proxy::{ChaosProxy, Mode};
use crate::crowd::Crowd;
use crate::harness::client::send;
use crate::harness::nodes::Nodes;
use crate::harness::transport::Transport;

const RATE: usize = 200;
const A_WHILE: Duration = Duration::from_secs(1);
const NOBODY_CAME_BACK: usize = 6;

tests! {
    answers_of_the_store_that_are_lost_leave_one_message_each,
    a_connection_to_the_store_that_is_cut_sliced_and_slowed_leaves_one_message_each,
    half_open_connections_to_the_store_are_found_and_given_up,
    a_store_that_does_not_answer_holds_up_sends_and_nothing_else,
    a_batch_of_commands_that_was_begun_is_finished_though_its_client_goes_away,
    one_dead_store_of_two_is_not_noticed,
}

async fn behind_a_proxy() -> (Nodes, ChaosProxy) {
    let mut proxy = None;
    let nodes = Nodes::with_store_at(|store| {
        let started = ChaosProxy::start(store);
        let endpoint = format!("http://{}", started.address());
        proxy = Some(started);
        endpoint
    })
    .await;
    (nodes, proxy.unwrap())
}

async fn answers_of_the_store_that_are_lost_leave_one_message_each() {
    let (nodes, proxy) = behind_a_proxy().await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    for _ in 0..3 {
        crowd.accepts(RATE / 2).await;
        // What is sent from here on is committed, and nobody is told.
        proxy.set(Mode::Swallow);
        crowd.goes_on(A_WHILE / 4).await;
        proxy.set(Mode::Pass);
    }
    crowd.accepts(RATE / 2).await;
    assert_eq!(crowd.attaches.load(Ordering::Relaxed), NOBODY_CAME_BACK);
    let verdict = crowd.verdict().await;
    assert_eq!((verdict.gaps, verdict.repeats), (0, 0), "{verdict:?}");
}

async fn a_connection_to_the_store_that_is_cut_sliced_and_slowed_leaves_one_message_each() {
    let (nodes, proxy) = behind_a_proxy().await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.accepts(RATE / 4).await;
    for round in 1..=6 {
        proxy.set(Mode::CutAfter(round * 1000));
        crowd.goes_on(A_WHILE / 8).await;
        proxy.set(Mode::Slice(round));
        crowd.goes_on(A_WHILE / 8).await;
        proxy.cut();
    }
    proxy.set(Mode::Slow(A_WHILE / 20));
    crowd.accepts(RATE / 4).await;
    proxy.set(Mode::Pass);
    crowd.accepts(RATE / 4).await;
    let verdict = crowd.verdict().await;
    assert_eq!((verdict.gaps, verdict.repeats), (0, 0), "{verdict:?}");
}

/// By HTTP/2 pings: nothing else would ever tell.
async fn half_open_connections_to_the_store_are_found_and_given_up() {
    /// A ping every 10 s that waits for 5 s, and room for a busy machine.
    const FOUND_WITHIN: Duration = Duration::from_secs(40);
    let (nodes, proxy) = behind_a_proxy().await;
    let crowd = Crowd::begin(&nodes, RATE / 2).await;
    crowd.accepts(RATE / 2).await;
    proxy.strand();
    let accepted = crowd.accepted();
    let again = async {
        // What was on its way may still have been answered.
        while crowd.accepted() < accepted + RATE / 2 {
            crowd.goes_on(A_WHILE / 10).await;
        }
    };
    tokio::time::timeout(FOUND_WITHIN, again).await.expect("sends are accepted again");
    let verdict = crowd.verdict().await;
    assert_eq!((verdict.gaps, verdict.repeats), (0, 0), "{verdict:?}");
}

async fn a_store_that_does_not_answer_holds_up_sends_and_nothing_else() {
    let (nodes, proxy) = behind_a_proxy().await;
    let mut alice = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let mut bob = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    alice.say("tea", "before").await;
    bob.next_message_is("before").await;
    proxy.set(Mode::Hold);
    let mut command = send("tea", "held", "held");
    command["ref"] = json!("held");
    alice.fire(&command).await;
    for state in ["started", "stopped"] {
        alice.ok(json!({ "type": "typing", "dialog_id": "tea", "state": state })).await;
        assert_eq!(bob.event_of("typing").await["state"], state);
        alice.ok(json!({ "type": "ping" })).await;
    }
    let answer = loop {
        let answer = alice.next_answer("the answer to the send").await;
        if answer["ref"] == "held" {
            break answer;
        }
    };
    assert!(["timeout", "unavailable"].contains(&answer["code"].as_str().unwrap()), "{answer}");
    assert_eq!(answer["unknown_outcome"], true, "{answer}");
    proxy.set(Mode::Pass);
    let again = async {
        while alice.command(send("tea", "held", "held")).await["type"] != "ok" {
            tokio::time::sleep(A_WHILE / 10).await;
        }
    };
    tokio::time::timeout(10 * A_WHILE, again).await.expect("it is accepted in the end");
    bob.next_message_is("held").await;
    alice.say("tea", "after").await;
    bob.next_message_is("after").await;
}

/// At the session's own node, and at the other, which hands it on.
async fn a_batch_of_commands_that_was_begun_is_finished_though_its_client_goes_away() {
    let (nodes, proxy) = behind_a_proxy().await;
    for (dialog, node) in [("tea", &nodes.a), ("soup", &nodes.b)] {
        let mut alice = nodes.user("alice").attach_to(Transport::Sse, &[dialog]).await;
        let mut bob = nodes.user_at_b("bob").attach_to(Transport::Ws, &[dialog]).await;
        alice.say(dialog, "before").await;
        bob.next_message_is("before").await;
        proxy.set(Mode::Hold);
        let texts = ["one", "two", "three"];
        let mut batch = vec![json!({ "type": "typing", "dialog_id": dialog, "state": "started" })];
        batch.extend(texts.map(|text| {
            let mut command = send(dialog, text, text);
            command["ref"] = json!(text);
            command
        }));
        let batch = json!(batch);
        let leaver = node.afresh().user(alice.user());
        tokio::select! {
            answer = leaver.post(alice.session(), &batch) => panic!("nothing can be answered yet: {answer:?}"),
            typing = bob.event_of("typing") => assert_eq!(typing["state"], "started"),
        }
        drop(leaver);
        node.user(alice.user()).settle().await;
        proxy.set(Mode::Pass);
        for text in texts {
            bob.next_message_is(text).await;
        }
        // Nor is it done again.
        let answer = node.user(alice.user()).post(alice.session(), &batch).await;
        let replies = answer.body["replies"].as_array().unwrap();
        assert_eq!(replies.len(), 1 + texts.len(), "{answer:?}");
        for (reply, seq) in replies[1..].iter().zip(2..) {
            assert_eq!((&reply["duplicate"], &reply["seq"]), (&json!(true), &json!(seq)), "{answer:?}");
        }
        alice.say(dialog, "after").await;
        bob.next_message_is("after").await;
    }
}

async fn one_dead_store_of_two_is_not_noticed() {
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let both = |store: SocketAddr| format!("http://{dead},http://{store}");
    let nodes = Nodes::with_store_at(both).await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.accepts(2 * RATE).await;
    assert_eq!(crowd.tally.put_off.load(Ordering::Relaxed), 0);
    let verdict = crowd.verdict().await;
    assert_eq!((verdict.gaps, verdict.repeats), (0, 0), "{verdict:?}");
}
