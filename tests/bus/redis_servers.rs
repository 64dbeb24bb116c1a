//! More than one server: Sentinel and Cluster.

use std::sync::Arc;

use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::application::ports::bus::{EventBus, EventLog};

use super::on_redis::{OnRedis, brisk, dialog, heard, json, until};
use super::redis_server::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_follows_a_failover_of_sentinel() {
    let (master, replica) = (Arc::new(RedisServer::start()), RedisServer::start());
    let port = master.port().to_string();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(&port).exec(&mut replica.by_hand()).unwrap();
    let is_synced = || {
        let role: String = redis::cmd("INFO").arg("replication").query(&mut replica.by_hand()).unwrap();
        role.contains("master_link_status:up")
    };
    until("the replica has everything", is_synced).await;
    let sentinel = RedisServer::sentinel_of(&master, "main", 1);
    let knows_replica = || {
        let replicas: Vec<redis::Value> =
            redis::cmd("SENTINEL").arg("replicas").arg("main").query(&mut sentinel.by_hand()).unwrap();
        !replicas.is_empty()
    };
    until("the Sentinel knows the replica", knows_replica).await;

    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
    let on_redis = OnRedis::at(master.clone(), &url, brisk(), Arc::new(SystemClock::start())).await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    assert_eq!(on_redis.append(&feed, "a").await, 1);
    until("it is heard", || heard(&recorder) == "1").await;
    let epoch = on_redis.read(&feed, 0).await.head.epoch;
    let is_replicated = || {
        let meta = on_redis.keys.meta(&feed);
        let offset: Option<u64> =
            redis::cmd("HGET").arg(meta).arg("offset").query(&mut replica.by_hand()).unwrap();
        offset == Some(1)
    };
    until("the replica has it, too", is_replicated).await;
    master.kill();
    until("the other server brings it", || heard(&recorder).ends_with('!')).await;
    on_redis.once_it_answers().await;
    assert_eq!(on_redis.append(&feed, "b").await, 2);
    until("it is heard", || heard(&recorder) == "1 ! 2").await;
    assert_eq!(on_redis.read(&feed, 0).await.head.epoch, epoch);
}

struct Cluster {
    servers: [Arc<RedisServer>; 2],
    ids: [String; 2],
}

impl Cluster {
    /// Two servers with half of the slots each.
    async fn start() -> Self {
        let servers = [Arc::new(RedisServer::of_cluster()), Arc::new(RedisServer::of_cluster())];
        for (server, (first, last)) in servers.iter().zip([(0, 8191), (8192, 16383)]) {
            let mut slots = redis::cmd("CLUSTER");
            slots.arg("ADDSLOTSRANGE").arg(first).arg(last).exec(&mut server.by_hand()).unwrap();
        }
        let mut meet = redis::cmd("CLUSTER");
        meet.arg("MEET").arg("127.0.0.1").arg(servers[1].port()).exec(&mut servers[0].by_hand()).unwrap();
        let is_complete = |server: &RedisServer| {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut server.by_hand()).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
        };
        until("they know each other", || servers.iter().all(|server| is_complete(server))).await;
        let id =
            |server: &RedisServer| redis::cmd("CLUSTER").arg("MYID").query(&mut server.by_hand()).unwrap();
        let ids = [id(&servers[0]), id(&servers[1])];
        Self { servers, ids }
    }

    async fn bus(&self) -> OnRedis {
        let url = format!("redis+cluster://127.0.0.1:{}", self.servers[0].port());
        OnRedis::at(self.servers[0].clone(), &url, brisk(), Arc::new(SystemClock::start())).await
    }

    /// Gives a slot, which must be empty, to the other server.
    fn give(&self, slot: u16, to: usize) {
        for server in [&self.servers[to], &self.servers[1 - to]] {
            let mut give = redis::cmd("CLUSTER");
            give.arg("SETSLOT").arg(slot).arg("NODE").arg(&self.ids[to]);
            give.exec(&mut server.by_hand()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_brings_the_feeds_of_all_its_servers() {
    let cluster = Cluster::start().await;
    let on_redis = cluster.bus().await;
    let feeds: Vec<_> = (0..40).map(|n| dialog(&format!("d{n}"))).collect();
    let mut listeners = Vec::new();
    for feed in &feeds {
        listeners.push(on_redis.listen(feed).await);
    }
    for feed in &feeds {
        assert_eq!(on_redis.append(feed, "a").await, 1);
        on_redis.bus.publish_ephemeral(feed, json("b")).await.unwrap();
    }
    for (recorder, _subscription) in &listeners {
        recorder.at_least(2).await;
        assert_eq!(heard(recorder), "1 ~");
    }
    let heads = on_redis.bus.heads(&feeds).await.unwrap();
    assert!(heads.iter().all(|head| head.offset == 1));
    for server in &cluster.servers {
        let channels: Vec<String> =
            redis::cmd("PUBSUB").arg("SHARDCHANNELS").query(&mut server.by_hand()).unwrap();
        assert!(channels.len() > 5, "{channels:?}");
    }
    let appended = on_redis.bus.append(&feeds[0], "c", json("c")).await.unwrap().at;
    until("it is settled", || on_redis.bus.settled() >= appended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_goes_with_its_slot_to_another_server_and_back() {
    let cluster = Cluster::start().await;
    let on_redis = cluster.bus().await;
    let feed = dialog("d");
    let slot: u16 = on_redis.call("CLUSTER", &["KEYSLOT", &on_redis.keys.live(&feed)]);
    let first = usize::from(slot >= 8192);
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    let (other, _other) = on_redis.listen(&dialog("e")).await;
    for (round, to) in [1 - first, first, 1 - first].into_iter().enumerate() {
        cluster.give(slot, to);
        until("it is subscribed there", || heard(&recorder).matches('!').count() == round + 1).await;
        on_redis.once_it_answers().await;
        on_redis.bus.publish_ephemeral(&feed, json("x")).await.unwrap();
        until("what comes is heard", || heard(&recorder).ends_with('~')).await;
    }
    assert_eq!(on_redis.append(&feed, "a").await, 1);
    until("it is heard", || heard(&recorder) == "! ~ ! ~ ! ~ 1").await;
    assert_eq!(heard(&other), "");
    let appended = on_redis.bus.append(&feed, "b", json("b")).await.unwrap().at;
    until("it is settled", || on_redis.bus.settled() >= appended).await;
}
