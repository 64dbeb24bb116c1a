//! What can happen to a server and to the links to it.

use std::sync::{Arc, Barrier, Once};
use std::time::Duration;

use bytes::Bytes;
use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::adapters::outbound::redis::bus::Config;
use edgeway::application::ports::bus::{BusError, EventBus, EventLog, LivePayload, LiveSink};
use edgeway::application::ports::clock::ManualClock;
use edgeway::domain::time::UnixMillis;

use super::on_redis::{OnRedis, brisk, dialog, heard, until};
use super::recorder::Recorder;
use super::redis_server::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_live_link_is_announced_and_nothing_is_lost() {
    let on_redis = OnRedis::alone().await;
    let feed = dialog("d");
    let (first, _one) = on_redis.listen(&feed).await;
    let (second, _two) = on_redis.listen(&feed).await;
    on_redis.append(&feed, "a").await;
    first.at_least(1).await;
    on_redis
        .interrupted_by(|| {
            on_redis.kill_live_links();
            let _: (String, u64, String) = on_redis.publish_by_hand(&feed, "{}", "b").unwrap();
        })
        .await;
    on_redis.append(&feed, "c").await;
    for recorder in [first, second] {
        until("the last is heard", || heard(&recorder).ends_with(" 3")).await;
        assert!(["1 ! 3", "1 ! 2 3"].contains(&&*heard(&recorder)), "{}", heard(&recorder));
    }
    assert_eq!(on_redis.read(&feed, 1).await.entries.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_begins_new_epochs() {
    let on_redis = OnRedis::alone().await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    on_redis.append(&feed, "a").await;
    let old = on_redis.read(&feed, 0).await.head;
    on_redis.interrupted_by(|| on_redis.server.restart()).await;
    on_redis.once_it_answers().await;
    assert_eq!(on_redis.append(&feed, "a").await, 1);
    until("it is heard", || heard(&recorder) == "1 ! 1").await;
    let new = on_redis.read(&feed, 0).await.head;
    assert_ne!(new.epoch, old.epoch);
    assert_eq!(on_redis.bus.heads(&[feed]).await.unwrap(), [new]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_gone_calls_fail_and_the_node_sees_it() {
    let on_redis = OnRedis::alone().await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    on_redis.server.kill();
    until("the silence is seen", || on_redis.bus.probe_age() > brisk().silence_max).await;
    let settled = on_redis.bus.settled();
    assert_eq!(on_redis.bus.append(&feed, "a", Bytes::new()).await, Err(BusError::Unavailable));
    assert_eq!(on_redis.bus.heads(std::slice::from_ref(&feed)).await, Err(BusError::Unavailable));
    assert!(on_redis.bus.subscribe(&dialog("e"), recorder.clone()).await.is_err());
    assert_eq!(on_redis.bus.settled(), settled);
    assert!(on_redis.bus.time() > settled);
    assert_eq!(heard(&recorder), "");
}

/// A stopped process still has its port open, and the kernel still takes what is sent: only a probe notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_and_goes_on_is_noticed_and_linked_to_anew() {
    let on_redis = OnRedis::alone().await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    on_redis.server.signal("-STOP");
    until("the silence is seen", || on_redis.bus.probe_age() > brisk().silence_max * 2).await;
    let settled = on_redis.bus.settled();
    on_redis.server.signal("-CONT");
    until("the link is built anew", || heard(&recorder) == "!").await;
    until("probes come back", || on_redis.bus.probe_age() < brisk().silence_max).await;
    until("what came is settled", || on_redis.bus.settled() > settled).await;
    on_redis.once_it_answers().await;
    on_redis.append(&feed, "a").await;
    until("it is heard", || heard(&recorder) == "! 1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_server_goes_on_in_new_epochs_without_an_interruption() {
    let on_redis = OnRedis::alone().await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    on_redis.append(&feed, "a").await;
    on_redis.append(&feed, "b").await;
    on_redis.call::<()>("FLUSHALL", &[]);
    assert_eq!(on_redis.append(&feed, "a").await, 1);
    let entries = recorder.entries(3).await;
    assert_eq!(heard(&recorder), "1 2 1");
    assert_ne!(entries[2].epoch, entries[1].epoch);
    assert_eq!(on_redis.read(&feed, 0).await.head.epoch, entries[2].epoch);
    // Scripts are gone, too.
    on_redis.call::<()>("SCRIPT", &["FLUSH"]);
    assert_eq!(on_redis.append(&feed, "b").await, 2);
    assert_eq!(on_redis.read(&feed, 0).await.entries.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_appends_and_still_tells_and_delivers() {
    let on_redis = OnRedis::alone().await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    on_redis.append(&feed, "a").await;
    on_redis.call::<()>("CONFIG", &["SET", "maxmemory", "1"]);
    assert_eq!(on_redis.bus.append(&feed, "b", Bytes::new()).await, Err(BusError::Unavailable));
    assert_eq!(on_redis.read(&feed, 0).await.entries.len(), 1);
    on_redis.bus.publish_ephemeral(&feed, Bytes::from_static(b"{}")).await.unwrap();
    recorder.at_least(2).await;
    until("probes come back all the same", || on_redis.bus.probe_age() < brisk().silence_max).await;
    on_redis.call::<()>("CONFIG", &["SET", "maxmemory", "0"]);
    assert_eq!(on_redis.append(&feed, "b").await, 2);
    recorder.at_least(3).await;
    assert_eq!(heard(&recorder), "1 ~ 2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_server_is_left_until_it_is_master_again() {
    let on_redis = OnRedis::alone().await;
    let master = RedisServer::start();
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    on_redis.call::<()>("REPLICAOF", &["127.0.0.1", &master.port().to_string()]);
    until("probes do not count any more", || on_redis.bus.probe_age() > brisk().silence_max).await;
    assert_eq!(on_redis.bus.append(&feed, "a", Bytes::new()).await, Err(BusError::Unavailable));
    on_redis.call::<()>("REPLICAOF", &["NO", "ONE"]);
    until("it is linked to anew", || on_redis.bus.probe_age() < brisk().silence_max).await;
    on_redis.once_it_answers().await;
    on_redis.append(&feed, "a").await;
    until("it is heard", || heard(&recorder).ends_with("! 1")).await;
}

/// A sink that holds the link up until the server has more for it than it keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_link_that_is_read_too_slowly_is_cut_and_announced() {
    struct Slow {
        heard: Recorder,
        begins: Once,
        goes_on: Barrier,
    }
    impl LiveSink for Slow {
        fn live(&self, payload: LivePayload) {
            self.heard.live(payload);
            self.begins.call_once(|| {
                self.goes_on.wait();
            });
        }
    }
    let on_redis = OnRedis::alone().await;
    let feed = dialog("d");
    on_redis.call::<()>("CONFIG", &["SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1"]);
    let slow = Arc::new(Slow { heard: Recorder::default(), begins: Once::new(), goes_on: Barrier::new(2) });
    let _subscription = on_redis.bus.subscribe(&feed, slow.clone()).await.unwrap();
    let large = " ".repeat(200 * 1024);
    for n in 0..200 {
        let _: (String, u64, String) = on_redis.publish_by_hand(&feed, &large, &n.to_string()).unwrap();
    }
    slow.goes_on.wait();
    until("it is announced", || slow.heard.so_far().contains(&LivePayload::Interrupted)).await;
    on_redis.once_it_answers().await;
    assert_eq!(on_redis.append(&feed, "last").await, 201);
    until("it goes on", || heard(&slow.heard).ends_with("! 201")).await;
    assert!(slow.heard.so_far().len() < 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_panics_costs_an_interruption_and_silences_nobody() {
    struct Fragile;
    impl LiveSink for Fragile {
        fn live(&self, payload: LivePayload) {
            assert!(!matches!(payload, LivePayload::Logged(_)), "a bug in the sink");
        }
    }
    let on_redis = OnRedis::alone().await;
    let (feed, other) = (dialog("d"), dialog("e"));
    let fragile = on_redis.bus.subscribe(&feed, Arc::new(Fragile)).await.unwrap();
    let (recorder, _subscription) = on_redis.listen(&other).await;
    on_redis
        .interrupted_by(|| {
            let _: (String, u64, String) = on_redis.publish_by_hand(&feed, "{}", "a").unwrap();
        })
        .await;
    drop(fragile);
    on_redis.append(&other, "b").await;
    until("it is heard", || heard(&recorder) == "! 1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wall_clock_of_the_node_does_not_matter() {
    let server = Arc::new(RedisServer::start());
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query(&mut server.by_hand()).unwrap();
    let clock = Arc::new(ManualClock::at(UnixMillis((seconds - 3600) * 1000)));
    let url = format!("redis://127.0.0.1:{}", server.port());
    let on_redis = OnRedis::at(server, &url, brisk(), clock.clone()).await;
    let appended = on_redis.bus.append(&dialog("d"), "a", Bytes::new()).await.unwrap().at;
    let near = |time: UnixMillis| time.0.abs_diff(appended.0) < 5_000;
    assert!(near(on_redis.bus.time()) && near(on_redis.bus.settled()));
    clock.set_unix(UnixMillis((seconds + 3600) * 1000));
    assert!(near(on_redis.bus.time()) && near(on_redis.bus.settled()));
    assert!(on_redis.bus.settled() <= on_redis.bus.time());
}

/// Whatever is settled has been heard: over and over, while the link is killed under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_counts_as_settled_that_was_not_heard_or_announced() {
    let server = Arc::new(RedisServer::start());
    let url = format!("redis://127.0.0.1:{}", server.port());
    let config = Config { probe_every: Duration::from_millis(5), ..brisk() };
    let on_redis = OnRedis::at(server, &url, config, Arc::new(SystemClock::start())).await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    for n in 1..=300 {
        if n % 50 == 0 {
            on_redis.kill_live_links();
        }
        let appended = on_redis.bus.append(&feed, &n.to_string(), Bytes::new()).await.unwrap();
        until("it is settled", || on_redis.bus.settled() >= appended.at).await;
        let heard = recorder.so_far();
        let known = heard.iter().rev().any(|payload| match payload {
            LivePayload::Logged(entry) => entry.offset == n,
            LivePayload::Interrupted => true,
            _ => false,
        });
        assert!(known, "{n} of {}", heard.len());
        let last = heard.iter().rev().find_map(|payload| match payload {
            LivePayload::Logged(entry) => Some(entry.offset),
            _ => None,
        });
        if n % 50 != 0 {
            assert_eq!(last, Some(n));
        }
    }
}
