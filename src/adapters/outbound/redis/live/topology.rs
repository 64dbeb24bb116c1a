//! A cluster's servers and whose slot is whose: found out, watched, and turned into links.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use redis::Value;
use tokio_util::sync::CancellationToken;

use super::company::Company;
use super::link::{LIVE_LINK, Link, Node, Target};
use super::routes::{LinkId, Routes, SLOTS};
use crate::adapters::outbound::redis::commands::RedisCommands;
use crate::application::vital::VitalTasks;

/// How often it is looked at when nobody doubts it.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Least time between two looks: after a failover, all links doubt at once.
const LOOK_PAUSE: Duration = Duration::from_millis(300);
/// Most servers that are linked to: the specification's own bound.
const SERVERS_MAX: usize = 1000;

type Host = (String, u16);
/// The servers, and the slots of each as ranges.
type Layout = HashMap<Host, Vec<(u16, u16)>>;

struct Held {
    id: LinkId,
    node: Arc<Node>,
    until: CancellationToken,
}

/// Keeps one link to each server of a cluster that has slots.
pub(super) struct Topology {
    commands: RedisCommands,
    company: Arc<Company>,
    tasks: VitalTasks,
    until: CancellationToken,
    links: HashMap<Host, Held>,
    next_link: u64,
}

impl Topology {
    pub(super) fn new(
        commands: RedisCommands,
        company: Arc<Company>,
        tasks: VitalTasks,
        until: CancellationToken,
    ) -> Self {
        Self { commands, company, tasks, until, links: HashMap::new(), next_link: 0 }
    }

    /// Works until it is told to stop.
    pub(super) async fn run(mut self) {
        let until = self.until.clone();
        tokio::select! {
            () = until.cancelled() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&mut self) {
        loop {
            let mut slots = redis::cmd("CLUSTER");
            slots.arg("SLOTS");
            // Of a host that a server leaves out, it is one that was asked.
            let asked = self.company.servers.hosts()[0].0.clone();
            match self.commands.query::<Value>(&slots).await.ok().and_then(|reply| layout(&reply, &asked)) {
                Some(layout) => self.follow(&layout),
                None => tracing::debug!("the cluster does not tell its slots"),
            }
            tokio::time::sleep(LOOK_PAUSE).await;
            // Whether by a doubt or by time, it is looked again.
            let _ = tokio::time::timeout(LOOK_EVERY, self.company.doubts.notified()).await;
        }
    }

    fn follow(&mut self, layout: &Layout) {
        for (host, slots) in layout {
            if let Some(held) = self.links.get(host) {
                held.node.slots.lock().clone_from(slots);
            } else {
                self.open(host, slots);
            }
        }
        let closed: Vec<Held> =
            self.links.extract_if(|host, _| !layout.contains_key(host)).map(|(_, held)| held).collect();
        let mut routes = vec![None; SLOTS];
        for (host, slots) in layout {
            let link = self.links.get(host).map(|held| held.id);
            for (first, last) in slots {
                routes[usize::from(*first)..=usize::from(*last)].fill(link);
            }
        }
        let ids: Vec<LinkId> = closed.iter().map(|held| held.id).collect();
        // First the channels, then the times: what has not settled there is owed before the link is forgotten.
        self.company.channels.reroute(Routes::Slots(routes.into()), &ids);
        for held in closed {
            held.until.cancel();
            self.company.times.close(held.id);
        }
    }

    fn open(&mut self, host: &Host, slots: &[(u16, u16)]) {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let node = Arc::new(Node { host: host.clone(), slots: Mutex::new(slots.to_vec()) });
        let until = self.until.child_token();
        let link = Link::open(id, Target::Node(node.clone()), self.company.clone());
        self.tasks.spawn(LIVE_LINK, until.clone(), link.run(until.clone()));
        self.links.insert(host.clone(), Held { id, node, until });
    }
}

/// Reads the answer to `CLUSTER SLOTS`: a list of `[first slot, last slot, [host, port, …] of the master, …]`.
fn layout(reply: &Value, asked: &str) -> Option<Layout> {
    let Value::Array(ranges) = reply else { return None };
    let mut layout = Layout::new();
    for range in ranges {
        let Value::Array(range) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else { return None };
        let [host, Value::Int(port), ..] = &master[..] else { return None };
        let host = match host {
            Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
            Value::BulkString(_) | Value::Nil => asked.to_owned(),
            _ => return None,
        };
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        if first > last || usize::from(last) >= SLOTS {
            return None;
        }
        layout.entry((host, u16::try_from(*port).ok()?)).or_default().push((first, last));
    }
    (1..=SERVERS_MAX).contains(&layout.len()).then_some(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: &str, port: i64) -> Value {
        let server = Value::Array(vec![
            Value::BulkString(host.into()),
            Value::Int(port),
            Value::BulkString(b"id".to_vec()),
        ]);
        Value::Array(vec![Value::Int(first), Value::Int(last), server])
    }

    #[test]
    fn a_cluster_tells_its_masters_and_their_slots() {
        let reply =
            Value::Array(vec![range(0, 99, "a", 1), range(100, 16383, "", 2), range(100, 100, "a", 1)]);
        let layout = layout(&reply, "asked").unwrap();
        assert_eq!(layout[&("a".to_owned(), 1)], [(0, 99), (100, 100)]);
        assert_eq!(layout[&("asked".to_owned(), 2)], [(100, 16383)]);
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_none() {
        for reply in [
            Value::Okay,
            Value::Array(Vec::new()),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 16384, "a", 1)]),
            Value::Array(vec![range(5, 4, "a", 1)]),
            Value::Array(vec![range(0, 1, "a", 70000)]),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(1)])]),
        ] {
            assert!(layout(&reply, "asked").is_none(), "{reply:?}");
        }
    }
}
