//! Redis dies, stops, stalls, and its links break.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::by_hand::{call, readiness};
use crate::crowd::Crowd;
use crate::harness::nodes::Nodes;
use crate::harness::runner::within;
use crate::harness::transport::Transport;

const RATE: usize = 500;
const A_WHILE: Duration = Duration::from_secs(1);
/// All six readers attached once, and no socket was lost since.
const NOBODY_CAME_BACK: usize = 6;

tests! {
    a_redis_that_is_killed_and_comes_back_empty_costs_a_gap_and_nothing_else,
    while_redis_is_gone_sends_are_answered_and_subscribing_is_unavailable,
    a_redis_that_is_stopped_is_told_by_readiness_and_nothing_is_lost,
    live_links_that_are_killed_lose_nothing,
    a_node_that_reads_too_slowly_for_redis_loses_nothing,
    a_redis_that_sleeps_loses_nothing,
    a_redis_that_takes_no_writes_for_a_while_loses_nothing,
}

async fn a_redis_that_is_killed_and_comes_back_empty_costs_a_gap_and_nothing_else() {
    let nodes = Nodes::start().await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.goes_on(A_WHILE).await;
    nodes.redis.restart();
    crowd.goes_on(2 * A_WHILE).await;
    assert_eq!(crowd.attaches.load(Ordering::Relaxed), NOBODY_CAME_BACK);
    let verdict = crowd.verdict().await;
    assert!(verdict.gaps > 0, "{verdict:?}");
}

async fn while_redis_is_gone_sends_are_answered_and_subscribing_is_unavailable() {
    let nodes = Nodes::start().await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    let mut latecomer = nodes.user("latecomer").attach(Transport::Ws).await;
    crowd.goes_on(A_WHILE).await;
    nodes.redis.kill();
    // Whoever is on the way when it happens may wait for the link once.
    crowd.accepts(RATE / 2).await;
    // One that is followed here already, and one that nobody follows.
    for dialog in ["tea", "juice"] {
        let reply = latecomer.ok(json!({ "type": "subscribe", "dialogs": [dialog] })).await;
        assert_eq!(reply["failed"], json!([{ "dialog_id": dialog, "code": "unavailable" }]), "{reply}");
    }
    crowd.accepts(RATE).await;
    nodes.redis.restart();
    let subscribe = json!({ "type": "subscribe", "dialogs": ["tea", "juice"] });
    let subscribing = async {
        // An error as a whole while what was followed can't be written down yet.
        while latecomer.command(subscribe.clone()).await["failed"] != json!([]) {
            tokio::time::sleep(A_WHILE / 10).await;
        }
    };
    within("Redis to be used again", subscribing).await;
    crowd.goes_on(A_WHILE).await;
    assert_eq!(crowd.attaches.load(Ordering::Relaxed), NOBODY_CAME_BACK);
    crowd.verdict().await;
}

async fn a_redis_that_is_stopped_is_told_by_readiness_and_nothing_is_lost() {
    /// Within ten seconds, and a moment to ask.
    const TOLD_WITHIN: Duration = Duration::from_millis(10_500);
    let nodes = Nodes::start().await;
    let crowd = Crowd::begin(&nodes, RATE / 5).await;
    crowd.goes_on(A_WHILE).await;
    nodes.redis.signal("-STOP");
    let told = tokio::time::timeout(TOLD_WITHIN, async {
        tokio::join!(readiness(&nodes.a, false), readiness(&nodes.b, false));
    });
    told.await.expect("readiness tells the truth within 10 s");
    assert_eq!(nodes.a.admin("/livez").await.0, 200);
    crowd.accepts(RATE / 5).await;
    crowd.goes_on(2 * A_WHILE).await;
    nodes.redis.signal("-CONT");
    let ready = tokio::time::timeout(TOLD_WITHIN, async {
        tokio::join!(readiness(&nodes.a, true), readiness(&nodes.b, true));
    });
    ready.await.expect("readiness tells the truth within 10 s");
    assert_eq!(crowd.attaches.load(Ordering::Relaxed), NOBODY_CAME_BACK);
    let verdict = crowd.verdict().await;
    assert_eq!(verdict.gaps, 0, "{verdict:?}");
}

async fn live_links_that_are_killed_lose_nothing() {
    let nodes = Nodes::start().await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    for _ in 0..8 {
        crowd.goes_on(A_WHILE / 4).await;
        let _: usize = call(&nodes.redis, "CLIENT", &["KILL", "TYPE", "pubsub"]);
    }
    crowd.goes_on(A_WHILE / 2).await;
    let verdict = crowd.verdict().await;
    assert_eq!((verdict.gaps, verdict.repeats), (0, 0), "{verdict:?}");
}

async fn a_node_that_reads_too_slowly_for_redis_loses_nothing() {
    const LARGE_BYTES: usize = 200 * 1024;
    let nodes = Nodes::start().await;
    let () = call(&nodes.redis, "CONFIG", &["SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1"]);
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.goes_on(A_WHILE).await;
    nodes.b.server().program().signal("-STOP");
    // Ephemeral, and of a kind that nobody knows: only the link feels it.
    let large = format!("-\n{}", "x".repeat(LARGE_BYTES));
    let killed = || {
        let stats: String = call(&nodes.redis, "INFO", &["stats"]);
        !stats.contains("client_output_buffer_limit_disconnections:0")
            || !stats.contains("client_output_buffer_limit_disconnections")
    };
    for n in 0..200 {
        let _: usize = call(&nodes.redis, "SPUBLISH", &["edgeway:{d:tea}:live", &large]);
        if n > 100 && killed() {
            break;
        }
    }
    crowd.goes_on(A_WHILE / 2).await;
    nodes.b.server().program().signal("-CONT");
    crowd.goes_on(A_WHILE).await;
    let verdict = crowd.verdict().await;
    assert_eq!(verdict.gaps, 0, "{verdict:?}");
    assert!(nodes.log_of("b").contains("the live link to Redis is lost"), "it was cut");
}

async fn a_redis_that_sleeps_loses_nothing() {
    let nodes = Nodes::start().await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.goes_on(A_WHILE).await;
    let server = &nodes.redis;
    let accepted = crowd.accepted();
    let sleeping = {
        let mut hand = server.by_hand();
        tokio::task::spawn_blocking(move || {
            redis::cmd("DEBUG").arg("SLEEP").arg(3).exec(&mut hand).unwrap();
        })
    };
    sleeping.await.unwrap();
    assert!(crowd.accepted() > accepted, "sends are answered meanwhile");
    crowd.goes_on(A_WHILE).await;
    let verdict = crowd.verdict().await;
    assert_eq!(verdict.gaps, 0, "{verdict:?}");
}

async fn a_redis_that_takes_no_writes_for_a_while_loses_nothing() {
    let nodes = Nodes::start().await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.goes_on(A_WHILE).await;
    let accepted = crowd.accepted();
    let () = call(&nodes.redis, "CLIENT", &["PAUSE", "3000", "WRITE"]);
    crowd.goes_on(3 * A_WHILE).await;
    assert!(crowd.accepted() > accepted, "sends are answered meanwhile");
    crowd.goes_on(A_WHILE).await;
    let verdict = crowd.verdict().await;
    assert_eq!(verdict.gaps, 0, "{verdict:?}");
}
