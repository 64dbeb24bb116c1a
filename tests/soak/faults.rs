//! What happens to the servers while the traffic goes on.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::SETTINGS;
use crate::harness::nodes::{Nodes, is_ready};
use crate::redis_server::RedisServer;
use crate::rng::Rng;
use crate::towns::Towns;

/// How long there is peace between two faults, in milliseconds.
const PEACE_MS: (u64, u64) = (1500, 3500);
/// Every so many faults one is the death of a node. It begins with the second.
const DEATH_EVERY: usize = 3;
/// The first node lives on: what it does not give back adds up to the end.
const MORTAL: usize = 1;

/// Counts of what was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) nodes_killed: usize,
    pub(crate) links_killed: u64,
}

/// Kills the links to Redis, and the second node, until it is time to end. A node that is killed has a successor by then.
pub(crate) async fn befall(nodes: &Nodes, towns: &Towns, seed: u64, end: Instant) -> Done {
    let mut rng = Rng::new(seed ^ 0xfa17);
    let mut done = Done::default();
    for count in 1.. {
        let next = Instant::now() + Duration::from_millis(rng.between(PEACE_MS.0, PEACE_MS.1));
        sleep_until(next.min(end)).await;
        if Instant::now() >= end {
            break;
        }
        if count % DEATH_EVERY == 2 {
            towns.get(MORTAL).server().program().kill();
            done.nodes_killed += 1;
            let node = nodes.another(&format!("b{}", done.nodes_killed), &SETTINGS);
            is_ready(&node).await;
            towns.replace(MORTAL, node);
        } else {
            done.links_killed += kill_live_links(&nodes.redis);
        }
    }
    done
}

/// Cuts the connections that live messages come by. Returns how many there were.
fn kill_live_links(redis: &RedisServer) -> u64 {
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).query(&mut redis.by_hand()).unwrap()
}
