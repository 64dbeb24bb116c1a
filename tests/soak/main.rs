//! A soak: two real gateways, the reference Store and a Redis of their own, clients that come, go, move and get lost on all
//! three transports, and faults now and then. In the end the oracle judges, everybody leaves, and the nodes must have
//! nothing left of it: no session, feed, task or file descriptor, and no memory.
//!
//! A short one runs with all tests. `make soak SECONDS=600` runs a long one: `EDGEWAY_SOAK_SECONDS` says how long, and
//! `EDGEWAY_SOAK_SEED` what the clients and the faults draw from.

#[cfg(test)]
#[path = "../support/closing.rs"]
mod closing;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod diary;
#[cfg(test)]
mod faults;
// The clients and nodes of the other suites can do more than is needed here.
#[cfg(test)]
#[allow(dead_code, reason = "this test uses part of it")]
#[path = "../two_nodes/harness/mod.rs"]
mod harness;
#[cfg(test)]
#[allow(dead_code, reason = "this test uses part of it")]
#[path = "../support/oracle.rs"]
mod oracle;
#[cfg(test)]
mod post;
#[cfg(test)]
#[allow(dead_code, reason = "this test uses part of it")]
#[path = "../support/redis_server.rs"]
mod redis_server;
#[cfg(test)]
mod rest;
#[cfg(test)]
#[allow(dead_code, reason = "this test uses part of it")]
#[path = "../simulation/rng.rs"]
mod rng;
#[cfg(test)]
mod steward;
#[cfg(test)]
mod towns;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod wanderer;

/// Sessions are forgotten soon, streams end often, queues overflow, and who does not answer is given up early.
#[cfg(test)]
const SETTINGS: [(&str, &str); 8] = [
    ("EDGEWAY__SESSION__RESUME_WINDOW", "2s"),
    ("EDGEWAY__SESSION__PRESENCE_GRACE", "1s"),
    ("EDGEWAY__SESSION__QUEUE_EVENTS", "40"),
    ("EDGEWAY__TRANSPORTS__WS__PING", "1s"),
    ("EDGEWAY__TRANSPORTS__SSE__HEARTBEAT", "1s"),
    ("EDGEWAY__TRANSPORTS__SSE__ROTATE", "5s"),
    ("EDGEWAY__TRANSPORTS__POLL__WAIT", "2s"),
    ("EDGEWAY__TELEMETRY__LEVEL", "info"),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpStream;

    use crate::SETTINGS;
    use crate::harness::nodes::Nodes;
    use crate::harness::runner::run_within;
    use crate::harness::transport::Transport;
    use crate::rest::{Standing, came_to_rest, settled};
    use crate::traffic::Traffic;

    /// How long the traffic of the soak lasts if nobody says.
    const SECONDS: u64 = 8;
    /// Before it is measured what a node needs at rest, it has had clients.
    const WARM_UP: Duration = Duration::from_secs(3);
    /// What a soak may take beside its traffic.
    const BESIDE: Duration = Duration::from_secs(150);
    /// Connections that [`what_is_left_is_seen`] leaves: more than a node is spared.
    const LEFT: usize = 20;

    fn told<T: std::str::FromStr>(variable: &str) -> Option<T> {
        let text = std::env::var(variable).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
    }

    #[test]
    fn when_the_clients_have_gone_nothing_of_them_is_left() {
        let seconds = told("EDGEWAY_SOAK_SECONDS").unwrap_or(SECONDS);
        let seed = told("EDGEWAY_SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("EDGEWAY_SOAK_SECONDS={seconds} EDGEWAY_SOAK_SEED={seed}");
        let traffic = Duration::from_secs(seconds);
        run_within(traffic + BESIDE, || soak(traffic, seed));
    }

    async fn soak(length: Duration, seed: u64) {
        let nodes = Nodes::with(&SETTINGS).await;
        // Both nodes have had clients before they are measured: some memory is taken once and for ever.
        let warm_up = Traffic::begin(&nodes, seed.wrapping_add(1)).await;
        warm_up.goes_on(WARM_UP).await;
        warm_up.ends().await;
        let before = [settled(&nodes.a).await, settled(&nodes.b).await];
        println!("at rest: {before:?}");

        let mut traffic = Traffic::begin(&nodes, seed).await;
        traffic.goes_on_with_faults(length, seed).await;
        let towns = traffic.towns();
        let tally = traffic.ends().await;
        tally.was_mixed(length);
        for (node, before) in [towns.get(0), towns.get(1)].iter().zip(&before) {
            let after = came_to_rest(node, before).await;
            println!("at rest: {after:?}");
        }
    }

    /// What the soak looks at would show what a client leaves behind.
    #[test]
    fn what_is_left_is_seen() {
        run_within(BESIDE, || async {
            let nodes = Nodes::with(&SETTINGS).await;
            let before = settled(&nodes.a).await;
            let mut left = Vec::new();
            while left.len() < LEFT {
                left.push(TcpStream::connect(nodes.a.server().address()).await.unwrap());
            }
            let mut client = nodes.user("late").attach_to(Transport::Ws, &["tea"]).await;
            client.say("tea", "is somebody there?").await;
            client.message().await;
            let after = Standing::of(&nodes.a).await;
            let complaints = after.more_than(&before).join("\n");
            for what in ["sessions", "connections", "queued events", "feeds", "tasks", "file descriptors"] {
                assert!(complaints.contains(what), "{what} are not missed:\n{complaints}");
            }
            drop((left, client));
            came_to_rest(&nodes.a, &before).await;
        });
    }
}
