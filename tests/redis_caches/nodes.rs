//! The directory of nodes, who holds which session, and the lifecycle stream.

use std::collections::HashMap;
use std::time::Duration;

use edgeway::adapters::outbound::redis::lifecycle::RedisLifecycle;
use edgeway::adapters::outbound::redis::nodes::{Config, NODE_TTL, RedisNodes};
use edgeway::adapters::outbound::redis::records::{Config as RecordsConfig, RedisSessionRecords};
use edgeway::application::ports::lifecycle::{LifecycleEvent, LifecycleLog, SessionTurn};
use edgeway::application::ports::nodes::{NodeDirectory, Owner};
use edgeway::application::ports::records::{Saved, SessionRecords};
use edgeway::domain::ids::DeviceId;
use edgeway::domain::time::UnixMillis;
use edgeway::session::cursor::Cursor;
use edgeway::session::reader::Transport;
use edgeway::session::snapshot::SessionSnapshot;
use redis::cmd;
use redis::streams::StreamRangeReply;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ids::{session, user};
use super::server::Redis;

const DEADLINE: Duration = Duration::from_secs(10);

fn node(redis: &Redis, name: &str) -> RedisNodes {
    let config = Config { node: name.to_owned(), address: format!("http://{name}:8080") };
    RedisNodes::new(config, redis.commands.clone())
}

fn records(redis: &Redis, node: &str) -> RedisSessionRecords {
    let config = RecordsConfig { ttl: Duration::from_secs(60), node: node.to_owned() };
    RedisSessionRecords::new(config, redis.commands.clone())
}

fn snapshot(epoch: u32) -> SessionSnapshot {
    SessionSnapshot {
        delivered_exactly: true,
        exact_from: Some(0),
        revision: 0,
        based_on: epoch.checked_sub(1).map(|before| (before, 0)),
        sent: Box::default(),
        id: session("s"),
        user_id: user("a"),
        device_id: None,
        first_epoch: 1,
        acknowledged: Cursor { epoch, number: 0, watermark: UnixMillis(3) },
        newest: 0,
        delivered_as_of: (epoch, 0),
        highest_attach: None,
        follow_all: None,
        subscriptions: Box::default(),
    }
}

#[tokio::test]
async fn a_node_is_in_the_directory_until_it_says_farewell() {
    let redis = Redis::new().await;
    let (one, other) = (node(&redis, "n1"), node(&redis, "n2"));
    let key = redis.commands.keys().node("n1");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    one.announce(&tasks.clone().into(), stop.clone());
    let found = async {
        while other.address("n1").await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, found).await.unwrap();
    assert_eq!(other.address("n1").await.unwrap().as_deref(), Some("http://n1:8080"));
    assert_eq!(other.address("n2").await, Ok(None));
    let ttl = redis.ttl(&key).await;
    assert!(ttl <= NODE_TTL && ttl > NODE_TTL / 2);
    stop.cancel();
    tasks.close();
    timeout(DEADLINE, tasks.wait()).await.unwrap();
    assert_eq!(other.address("n1").await, Ok(None));
}

#[tokio::test]
async fn a_node_that_was_forgotten_says_again_that_it_lives() {
    let redis = Redis::new().await;
    let one = node(&redis, "n1");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    one.announce(&tasks.clone().into(), stop.clone());
    let _stop = stop.drop_guard();
    let is_found = async || {
        while one.address("n1").await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, is_found()).await.unwrap();
    redis.expire(&redis.commands.keys().node("n1")).await;
    timeout(DEADLINE, is_found()).await.unwrap();
}

#[tokio::test]
async fn whoever_saved_a_session_last_holds_it() {
    let redis = Redis::new().await;
    let directory = node(&redis, "n3");
    assert_eq!(directory.owner(&session("s")).await, Ok(None));
    let owner = |node: &str, generation| Owner {
        node: node.to_owned(),
        user_id: user("a"),
        generation,
        address: None,
    };
    records(&redis, "n1").save(&snapshot(1)).await.unwrap();
    assert_eq!(directory.owner(&session("s")).await, Ok(Some(owner("n1", 1))));
    records(&redis, "n2").save(&snapshot(2)).await.unwrap();
    assert_eq!(directory.owner(&session("s")).await, Ok(Some(owner("n2", 2))));
    assert_eq!(records(&redis, "n1").save(&snapshot(1)).await, Ok(Saved::Superseded));
    records(&redis, "n2").remove(&session("s"), &user("a")).await.unwrap();
    assert_eq!(directory.owner(&session("s")).await, Ok(None));
}

#[tokio::test]
async fn lifecycle_events_are_entries_of_a_stream() {
    let redis = Redis::new().await;
    let log = RedisLifecycle::new(redis.commands.clone());
    let attached = LifecycleEvent {
        turn: SessionTurn::Attached,
        user_id: user("a"),
        session_id: session("s"),
        device_id: Some(DeviceId::parse("phone").unwrap()),
        transport: Some(Transport::Sse),
        node: "n1".to_owned(),
        others: 2,
        at: UnixMillis(1_785_000_000_120),
    };
    let ended = LifecycleEvent {
        turn: SessionTurn::Ended,
        device_id: None,
        transport: None,
        others: 0,
        ..attached.clone()
    };
    log.append(&[attached.clone(), ended.clone()], false).await.unwrap();
    // Perhaps it was written: then it is not written again.
    log.append(&[attached, ended], true).await.unwrap();
    let stream = redis.commands.keys().lifecycle();
    let entries: StreamRangeReply =
        redis.commands.query(cmd("XRANGE").arg(stream).arg("-").arg("+")).await.unwrap();
    assert_eq!(entries.ids.len(), 2);
    let fields = |index: usize| -> HashMap<String, String> {
        let entry = &entries.ids[index];
        entry.map.keys().map(|field| (field.clone(), entry.get(field).unwrap())).collect()
    };
    let expected = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(
        fields(0),
        expected(&[
            ("event", "attached"),
            ("user_id", "a"),
            ("session", "s"),
            ("device_id", "phone"),
            ("transport", "sse"),
            ("node", "n1"),
            ("others", "2"),
            ("at", "2026-07-25T17:20:00.120Z"),
        ])
    );
    assert_eq!(
        fields(1),
        expected(&[
            ("event", "ended"),
            ("user_id", "a"),
            ("session", "s"),
            ("node", "n1"),
            ("others", "0"),
            ("at", "2026-07-25T17:20:00.120Z"),
        ])
    );
}
