//! More than one server: a failover by Sentinels, and slots of a Cluster that move, while messages flow.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::Value;

use crate::by_hand::{call, try_call};
use crate::crowd::Crowd;
use crate::harness::nodes::Nodes;
use crate::redis_server::RedisServer;

const RATE: usize = 300;
const A_WHILE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);
const NOBODY_CAME_BACK: usize = 6;

tests! {
    a_failover_that_loses_the_tail_of_the_logs_costs_a_gap_and_nothing_else,
    a_master_that_is_demoted_on_purpose_costs_nothing_that_is_not_told,
    slots_that_move_while_they_are_followed_lose_nothing,
    a_master_of_a_cluster_that_is_replaced_by_its_replica_costs_nothing_that_is_not_told,
}

/// A master, a replica that will take over, and three Sentinels of which two must agree.
struct Watched {
    master: RedisServer,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Watched {
    async fn start() -> Self {
        let (master, replica) = (RedisServer::start(), RedisServer::start());
        let () = call(&replica, "REPLICAOF", &["127.0.0.1", &master.port().to_string()]);
        until("the replica has everything", || is_synced(&replica)).await;
        let sentinels: Vec<_> = (0..3).map(|_| RedisServer::sentinel_of(&master, "main", 2)).collect();
        let knows_all = |sentinel: &RedisServer| {
            let count = |what: &str| call::<Vec<Value>>(sentinel, "SENTINEL", &[what, "main"]).len();
            (count("replicas"), count("sentinels")) == (1, 2)
        };
        until("the Sentinels know each other", || sentinels.iter().all(knows_all)).await;
        Self { master, replica, sentinels }
    }

    fn url(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    fn leads(&self, server: &RedisServer) -> bool {
        self.sentinels.iter().all(|sentinel| {
            let (_, port): (String, String) =
                call(sentinel, "SENTINEL", &["get-master-addr-by-name", "main"]);
            port == server.port().to_string()
        })
    }
}

fn is_synced(replica: &RedisServer) -> bool {
    let info: String = call(replica, "INFO", &["replication"]);
    info.contains("master_link_status:up")
}

async fn a_failover_that_loses_the_tail_of_the_logs_costs_a_gap_and_nothing_else() {
    let servers = Watched::start().await;
    let nodes = Nodes::on(&servers.url()).await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.goes_on(A_WHILE).await;
    // What the master takes from here on no replica will ever have.
    servers.replica.signal("-STOP");
    let _: usize = call(&servers.master, "CLIENT", &["KILL", "TYPE", "replica"]);
    crowd.accepts(RATE / 4).await;
    crowd.goes_on(A_WHILE / 4).await;
    servers.master.kill();
    servers.replica.signal("-CONT");
    until("the replica leads", || servers.leads(&servers.replica)).await;
    crowd.goes_on(2 * A_WHILE).await;
    assert_eq!(crowd.attaches.load(Ordering::Relaxed), NOBODY_CAME_BACK);
    let verdict = crowd.verdict().await;
    assert!(verdict.gaps > 0, "{verdict:?}");
}

async fn a_master_that_is_demoted_on_purpose_costs_nothing_that_is_not_told() {
    let servers = Watched::start().await;
    let nodes = Nodes::on(&servers.url()).await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.goes_on(A_WHILE).await;
    let () = call(&servers.sentinels[0], "SENTINEL", &["FAILOVER", "main"]);
    until("the replica leads", || servers.leads(&servers.replica)).await;
    // Sentinel ends the connections to whom it demotes; one of the test's own may be among them.
    let role = || -> redis::RedisResult<String> {
        redis::cmd("INFO").arg("replication").query(&mut servers.master.try_by_hand()?)
    };
    let is_replica = || role().is_ok_and(|role| role.contains("role:slave"));
    until("the master is a replica", is_replica).await;
    crowd.goes_on(2 * A_WHILE).await;
    assert_eq!(crowd.attaches.load(Ordering::Relaxed), NOBODY_CAME_BACK);
    crowd.verdict().await;
}

/// Three masters with a third of the slots each.
struct Cluster {
    servers: Vec<RedisServer>,
    ids: Vec<String>,
}

const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

impl Cluster {
    async fn start() -> Self {
        let servers: Vec<_> = SLOTS.iter().map(|_| RedisServer::of_cluster()).collect();
        for (server, (first, last)) in servers.iter().zip(SLOTS) {
            let () = call(server, "CLUSTER", &["ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        }
        for (n, server) in servers.iter().enumerate() {
            // Else two of them would have the same age, and would have to find out who gives way.
            let () = call(server, "CLUSTER", &["SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            if n > 0 {
                let port = server.port().to_string();
                let () = call(&servers[0], "CLUSTER", &["MEET", "127.0.0.1", &port]);
            }
        }
        let is_complete = |server: &RedisServer| {
            let info: String = call(server, "CLUSTER", &["INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
        };
        until("they know each other", || servers.iter().all(is_complete)).await;
        let ids = servers.iter().map(|server| call(server, "CLUSTER", &["MYID"])).collect();
        Self { servers, ids }
    }

    fn url(&self) -> String {
        let hosts: Vec<_> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// Whose a slot is.
    fn owner(slot: u16) -> usize {
        SLOTS.iter().position(|(first, last)| (*first..=*last).contains(&slot)).unwrap()
    }

    /// Gives a slot away with all its keys, as `redis-cli --cluster reshard` does it.
    async fn give(&self, slot: u16, from: usize, to: usize) {
        let (text, ids) = (slot.to_string(), &self.ids);
        let set = |server: usize, how: &[&str]| {
            let () = call(&self.servers[server], "CLUSTER", &[&["SETSLOT", &text], how].concat());
        };
        set(to, &["IMPORTING", &ids[from]]);
        set(from, &["MIGRATING", &ids[to]]);
        let port = self.servers[to].port().to_string();
        loop {
            let keys: Vec<String> = call(&self.servers[from], "CLUSTER", &["GETKEYSINSLOT", &text, "100"]);
            if keys.is_empty() {
                break;
            }
            for key in keys {
                // A key that has just expired is no error.
                let _: Option<String> =
                    try_call(&self.servers[from], "MIGRATE", &["127.0.0.1", &port, &key, "0", "5000"])
                        .unwrap();
            }
            tokio::time::sleep(PAUSE).await;
        }
        set(to, &["NODE", &ids[to]]);
        set(from, &["NODE", &ids[to]]);
        set(3 - from - to, &["NODE", &ids[to]]);
    }
}

async fn slots_that_move_while_they_are_followed_lose_nothing() {
    let cluster = Cluster::start().await;
    let nodes = Nodes::on(&cluster.url()).await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.goes_on(A_WHILE).await;
    for dialog in ["tea", "soup"] {
        let key = format!("edgeway:{{d:{dialog}}}:log");
        let slot: u16 = call(&cluster.servers[0], "CLUSTER", &["KEYSLOT", &key]);
        let from = Cluster::owner(slot);
        let to = (from + 1) % 3;
        cluster.give(slot, from, to).await;
        crowd.goes_on(A_WHILE / 2).await;
        cluster.give(slot, to, from).await;
        crowd.goes_on(A_WHILE / 2).await;
    }
    assert_eq!(crowd.attaches.load(Ordering::Relaxed), NOBODY_CAME_BACK);
    let verdict = crowd.verdict().await;
    assert_eq!(verdict.gaps, 0, "{verdict:?}");
}

async fn a_master_of_a_cluster_that_is_replaced_by_its_replica_costs_nothing_that_is_not_told() {
    let cluster = Cluster::start().await;
    let key = "edgeway:{d:tea}:log";
    let slot: u16 = call(&cluster.servers[0], "CLUSTER", &["KEYSLOT", key]);
    let owner = Cluster::owner(slot);
    let replica = RedisServer::of_cluster();
    let port = cluster.servers[owner].port().to_string();
    let () = call(&replica, "CLUSTER", &["MEET", "127.0.0.1", &port]);
    let replicates = || try_call::<()>(&replica, "CLUSTER", &["REPLICATE", &cluster.ids[owner]]).is_ok();
    until("the replica knows its master", replicates).await;
    until("the replica has everything", || is_synced(&replica)).await;
    let nodes = Nodes::on(&cluster.url()).await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.goes_on(A_WHILE).await;
    cluster.servers[owner].kill();
    let leads = || {
        let info: String = call(&replica, "INFO", &["replication"]);
        info.contains("role:master")
    };
    until("the replica leads", leads).await;
    crowd.goes_on(2 * A_WHILE).await;
    assert_eq!(crowd.attaches.load(Ordering::Relaxed), NOBODY_CAME_BACK);
    crowd.verdict().await;
}

/// Waits for what only can be asked.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited in vain until {what}");
}
