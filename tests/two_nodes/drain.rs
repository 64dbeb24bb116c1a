//! A node that leaves under traffic: 200 clients on all three transports, each of which reads and sends, are sent to the
//! other node, and nothing of what anybody was told got lost on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::client::numbered;
use crate::harness::nodes::Nodes;
use crate::harness::roamer::{Company, Roamer, Told};
use crate::harness::runner::eventually;
use crate::harness::transport::Transport;

tests! {
    a_node_that_leaves_under_traffic_loses_nothing_of_200_clients,
    a_node_that_is_asked_twice_goes_at_once,
    a_node_that_leaves_takes_nobody_in,
}

const CLIENTS: usize = 200;
const USERS: usize = 20;
const DELAY: Duration = Duration::from_millis(500);
const SPREAD: Duration = Duration::from_secs(4);
/// What `docs/operations.md` adds to that: records, a send's time, closing, the links.
const GRACE: Duration = Duration::from_secs(3 + 5 + 3 + 1);

const SETTINGS: &[(&str, &str)] = &[("EDGEWAY__DRAIN__DELAY", "500ms"), ("EDGEWAY__DRAIN__SPREAD", "4s")];

async fn a_node_that_leaves_under_traffic_loses_nothing_of_200_clients() {
    let nodes = Nodes::with(SETTINGS).await;
    let users: Vec<_> = (0..USERS).map(|_| nodes.user("u")).collect();
    let (traffic, watched) = watch::channel(true);
    let company = Arc::new(Company { traffic: watched, settled: Barrier::new(CLIENTS) });
    let mut attached = Vec::new();
    for n in 0..CLIENTS {
        let user = &users[n % USERS];
        let on = Transport::ALL[n % Transport::ALL.len()];
        // A dialog has one client of every user.
        let dialog = format!("d{}", n / USERS);
        attached.push(Roamer::attach(user, nodes.b.user(user), on, &dialog, n).await);
    }
    let mut roamers = JoinSet::new();
    for (n, roamer) in attached.into_iter().enumerate() {
        roamers.spawn(roamer.run(company.clone(), n % USERS == 0));
    }
    // It ends under traffic.
    sleep(Duration::from_secs(1)).await;

    let asked = Instant::now();
    nodes.a.server().program().terminate();
    let exit = async {
        loop {
            if let Some(exit) = nodes.a.server().program().ended() {
                return (exit, asked.elapsed());
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let (exit, took) = timeout(DELAY + SPREAD + GRACE, exit).await.expect("it ends within its time");
    assert!(exit.success(), "{exit} after {took:?}");

    // A while of traffic at the other node alone, then the last messages.
    sleep(Duration::from_secs(1)).await;
    traffic.send_replace(false);
    let told: Vec<Told> = roamers.join_all().await;
    assert_eq!(told.len(), CLIENTS);
    assert_nothing_was_lost(&told);
    assert_spread(&told, asked);
}

/// Every client saw exactly what senders were told was accepted, in the Store's order: nothing else was committed.
fn assert_nothing_was_lost(told: &[Told]) {
    let mut accepted: BTreeMap<&str, BTreeMap<u64, &str>> = BTreeMap::new();
    for (seq, text, dialog) in told.iter().flat_map(Told::accepted) {
        let twice = accepted.entry(dialog).or_default().insert(seq, text);
        assert_eq!(twice, None, "{dialog} {seq}");
    }
    let (mut at_a, mut not_done) = (0, 0);
    for client in told {
        let texts: Vec<&str> = accepted[client.dialog()].values().copied().collect();
        let seen: Vec<&str> = client.seen().iter().map(String::as_str).collect();
        let differs = seen.iter().zip(&texts).position(|(seen, accepted)| seen != accepted);
        assert_eq!((differs, seen.len()), (None, texts.len()), "read and accepted: {texts:?} {client:?}");
        at_a += client.accepted_before_moving;
        not_done += client.not_done;
    }
    assert!(at_a > CLIENTS / 2, "there was traffic: {at_a}");
    eprintln!("{at_a} sends accepted by the node that left, {not_done} refused or not taken");
}

/// Clients were sent away over the whole spread, to come back at times of their own.
fn assert_spread(told: &[Told], asked: Instant) {
    const QUARTERS: usize = 4;
    let mut quarters = [0; QUARTERS];
    for client in told {
        let after = client.sent_away.duration_since(asked);
        assert!(after >= DELAY, "{after:?}");
        let part = (after - DELAY).as_secs_f64() / SPREAD.as_secs_f64();
        quarters[((part * QUARTERS as f64) as usize).min(QUARTERS - 1)] += 1;
    }
    let least = CLIENTS / QUARTERS / 3;
    assert!(quarters.iter().all(|&count| count >= least), "{quarters:?}");
    let mut waits: Vec<u64> = told.iter().filter_map(|client| client.reconnect_after_ms).collect();
    assert!(waits.iter().all(|&ms| ms <= 800), "a fifth of the spread at most: {waits:?}");
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > CLIENTS / 4, "each has a time of its own: {waits:?}");
}

async fn a_node_that_is_asked_twice_goes_at_once() {
    let nodes = Nodes::with(&[("EDGEWAY__DRAIN__DELAY", "60s")]).await;
    nodes.a.server().program().terminate();
    eventually("the node to have heard", || async {
        let (_, answer) = nodes.a.admin("/readyz").await;
        answer.contains("draining").then_some(())
    })
    .await;
    nodes.a.server().program().terminate();
    let exit = eventually("the node to end", || async { nodes.a.server().program().ended() }).await;
    assert_eq!(exit.code(), Some(143), "128 and the signal's number: {exit}");
}

async fn a_node_that_leaves_takes_nobody_in() {
    let nodes = Nodes::with(&[("EDGEWAY__DRAIN__SPREAD", "10s")]).await;
    let alice = nodes.user("alice");
    // Several sessions: one of them waits for its turn until half of the spread is over.
    let mut first = alice.attach_to(Transport::Ws, &["tea"]).await;
    let mut second = alice.attach_to(Transport::Ws, &["tea"]).await;
    nodes.a.server().program().terminate();
    let (ended, served) = tokio::select! {
        ended = first.ended() => (ended, &mut second),
        ended = second.ended() => (ended, &mut first),
    };
    assert_eq!((ended.goaway_reason(), ended.close), ("draining", Some(4200)), "{ended:?}");
    for on in Transport::ALL {
        let ended = alice.try_attach(on, crate::harness::attach::Attach::new()).await.unwrap_err();
        match on {
            Transport::Ws => assert_eq!((ended.code(), ended.close), ("draining", Some(4200)), "{ended:?}"),
            Transport::Sse => assert_eq!(ended.goaway_reason(), "draining", "{ended:?}"),
            Transport::Poll => assert_eq!((ended.code(), ended.status), ("draining", Some(503)), "{ended:?}"),
        }
        if on != Transport::Sse {
            let error: &Value = ended.error.as_ref().unwrap();
            assert!(error["retry_after_ms"].as_u64().unwrap() > 0, "{error}");
        }
    }
    // The other one is served until its own turn.
    served.say_all("tea", &numbered("still", 3)).await;
    served.texts(3).await;
}
