//! Session records, in Redis and in memory.

use std::sync::Arc;
use std::time::Duration;

use edgeway::adapters::outbound::memory;
use edgeway::adapters::outbound::memory::records::MemorySessionRecords;
use edgeway::adapters::outbound::redis::records::{Config, ENDED_TTL, RedisSessionRecords};
use edgeway::application::ports::bus::BusError;
use edgeway::application::ports::clock::ManualClock;
use edgeway::application::ports::records::{Saved, SessionRecords};
use edgeway::domain::event::LogPosition;
use edgeway::domain::ids::{DeviceId, FeedKey};
use edgeway::domain::time::UnixMillis;
use edgeway::session::cursor::Cursor;
use edgeway::session::snapshot::{SessionSnapshot, SubscribeOptions, SubscriptionSnapshot};
use edgeway::session::subscriptions::Confirmed;

use super::ids::{dialog, session, user};
use super::server::Redis;

const TTL: Duration = Duration::from_secs(24 * 3600);

fn snapshot(name: &str, epoch: u32, number: u64) -> SessionSnapshot {
    let subscription = |feed, presence, typing| SubscriptionSnapshot {
        in_step: None,
        confirmed: Confirmed {
            feed: LogPosition { epoch: "e".into(), offset: 0 },
            own: None,
            at: UnixMillis(1),
        },
        feed,
        delivered: LogPosition { epoch: "e\"1".into(), offset: u64::MAX },
        numbered: Some(u64::MAX),
        last_message_seq: 7,
        options: SubscribeOptions { presence, typing },
    };
    SessionSnapshot {
        delivered_exactly: true,
        exact_from: Some(number),
        revision: 0,
        based_on: None,
        sent: Box::default(),
        id: session(name),
        user_id: user("a:b"),
        device_id: Some(DeviceId::parse("phone").unwrap()),
        first_epoch: 1,
        acknowledged: Cursor { epoch, number, watermark: UnixMillis(3) },
        newest: number,
        delivered_as_of: (1, 0),
        highest_attach: Some(u64::MAX),
        follow_all: Some(SubscribeOptions { presence: true, typing: false }),
        subscriptions: [
            subscription(FeedKey::Dialog(dialog("d:1")), true, false),
            subscription(FeedKey::User(user("a:b")), false, true),
        ]
        .into(),
    }
}

fn bare(name: &str, epoch: u32) -> SessionSnapshot {
    SessionSnapshot {
        device_id: None,
        highest_attach: None,
        follow_all: None,
        subscriptions: Box::default(),
        ..snapshot(name, epoch, 0)
    }
}

fn in_redis(redis: &Redis, node: &str) -> RedisSessionRecords {
    RedisSessionRecords::new(Config { ttl: TTL, node: node.to_owned() }, redis.commands.clone())
}

fn in_memory() -> MemorySessionRecords {
    MemorySessionRecords::new(memory::records::Config::default(), Arc::new(ManualClock::default()))
}

async fn a_record_is_as_it_was_saved_last(records: &dyn SessionRecords) {
    assert_eq!(records.load(&session("s")).await, Ok(None));
    for saved in [snapshot("s", 1, 2), bare("s", 1), snapshot("s", 2, u64::MAX)] {
        assert_eq!(records.save(&saved).await, Ok(Saved::Written));
        assert_eq!(records.load(&session("s")).await, Ok(Some(saved)));
    }
    assert_eq!(records.load(&session("other")).await, Ok(None));
}

async fn an_earlier_generation_is_not_saved(records: &dyn SessionRecords) {
    records.save(&snapshot("s", 2, 1)).await.unwrap();
    assert_eq!(records.save(&snapshot("s", 1, 9)).await, Ok(Saved::Superseded));
    assert_eq!(records.load(&session("s")).await, Ok(Some(snapshot("s", 2, 1))));
}

async fn only_its_user_ends_a_session(records: &dyn SessionRecords) {
    records.save(&snapshot("s", 1, 1)).await.unwrap();
    records.remove(&session("s"), &user("b")).await.unwrap();
    assert!(records.load(&session("s")).await.unwrap().is_some());
    records.remove(&session("s"), &user("a:b")).await.unwrap();
    assert_eq!(records.load(&session("s")).await, Ok(None));
    records.remove(&session("never"), &user("a:b")).await.unwrap();
}

async fn a_user_who_was_forgotten_has_no_record_from_before(records: &dyn SessionRecords) {
    records.save(&snapshot("s", 1, 1)).await.unwrap();
    records.forget_user(&user("b")).await.unwrap();
    assert!(records.load(&session("s")).await.unwrap().is_some(), "somebody else's");
    records.forget_user(&user("a:b")).await.unwrap();
    assert_eq!(records.load(&session("s")).await, Ok(None));
    records.forget_user(&user("a:b")).await.unwrap();
}

#[tokio::test]
async fn records_in_redis_and_in_memory_keep_the_same_promises() {
    for n in 0..2 {
        let redis = Redis::new().await;
        let fresh = || -> Box<dyn SessionRecords> {
            if n == 0 { Box::new(in_memory()) } else { Box::new(in_redis(&redis, "n1")) }
        };
        a_record_is_as_it_was_saved_last(&*fresh()).await;
        redis.expire(&redis.commands.keys().session(&session("s"))).await;
        an_earlier_generation_is_not_saved(&*fresh()).await;
        redis.expire(&redis.commands.keys().session(&session("s"))).await;
        an_earlier_save_that_comes_late_changes_nothing(&*fresh()).await;
        redis.expire(&redis.commands.keys().session(&session("s"))).await;
        only_its_user_ends_a_session(&*fresh()).await;
        redis.expire(&redis.commands.keys().session(&session("s"))).await;
        a_user_who_was_forgotten_has_no_record_from_before(&*fresh()).await;
    }
}

#[tokio::test]
async fn of_two_nodes_with_one_generation_the_first_keeps_the_session() {
    let redis = Redis::new().await;
    let other_node = redis.other_node().await;
    let (first, second) = (in_redis(&redis, "n1"), in_redis(&other_node, "n2"));
    assert_eq!(first.save(&snapshot("s", 1, 1)).await, Ok(Saved::Written));
    let rebuilt = |number| SessionSnapshot { based_on: Some((1, 0)), ..snapshot("s", 2, number) };
    let (a, b) = (rebuilt(1), rebuilt(2));
    let saved = tokio::join!(first.save(&a), second.save(&b));
    assert!(
        matches!(saved, (Ok(x), Ok(y)) if (x == Saved::Written) != (y == Saved::Written)),
        "exactly one: {saved:?}"
    );
    let rebuilt = SessionSnapshot { based_on: Some((2, 0)), ..snapshot("s", 3, 1) };
    assert_eq!(second.save(&rebuilt).await, Ok(Saved::Written));
    assert_eq!(first.save(&snapshot("s", 2, 9)).await, Ok(Saved::Superseded));
    assert_eq!(first.load(&session("s")).await, Ok(Some(snapshot("s", 3, 1))));
}

#[tokio::test]
async fn what_a_node_wrote_after_another_had_read_the_record_is_not_forgotten() {
    let redis = Redis::new().await;
    let other_node = redis.other_node().await;
    let (old, new) = (in_redis(&redis, "n1"), in_redis(&other_node, "n2"));
    let first = SessionSnapshot { revision: 1, ..bare("s", 1) };
    old.save(&first).await.unwrap();
    let read = new.load(&session("s")).await.unwrap().unwrap();
    assert_eq!(read.revision, 1);
    // The old node answers a `subscribe` in the same moment.
    let promised = SessionSnapshot { revision: 2, ..snapshot("s", 1, 0) };
    assert_eq!(old.save(&promised).await, Ok(Saved::Written));
    let rebuilt = SessionSnapshot { based_on: Some((1, 1)), ..bare("s", 2) };
    assert_eq!(new.save(&rebuilt).await, Ok(Saved::Superseded));
    assert_eq!(new.load(&session("s")).await, Ok(Some(promised)), "it reads again");
    let rebuilt = SessionSnapshot { based_on: Some((1, 2)), ..snapshot("s", 2, 0) };
    assert_eq!(new.save(&rebuilt).await, Ok(Saved::Written));
}

async fn an_earlier_save_that_comes_late_changes_nothing(records: &dyn SessionRecords) {
    let later = SessionSnapshot { revision: 2, ..snapshot("s", 1, 0) };
    records.save(&later).await.unwrap();
    let earlier = SessionSnapshot { revision: 1, ..bare("s", 1) };
    assert_eq!(records.save(&earlier).await, Ok(Saved::Written), "the later one says it all");
    assert_eq!(records.load(&session("s")).await, Ok(Some(later)));
}

#[tokio::test]
async fn a_session_that_has_ended_is_not_saved_again() {
    let redis = Redis::new().await;
    let records = in_redis(&redis, "n1");
    records.save(&snapshot("s", 1, 1)).await.unwrap();
    records.remove(&session("s"), &user("a:b")).await.unwrap();
    assert_eq!(records.save(&snapshot("s", 2, 2)).await, Ok(Saved::Superseded));
    assert_eq!(records.load(&session("s")).await, Ok(None));
    let mark = redis.ttl(&redis.commands.keys().session(&session("s"))).await;
    assert!(mark <= ENDED_TTL && mark > ENDED_TTL / 2);
}

#[tokio::test]
async fn a_save_renews_the_record() {
    let redis = Redis::new().await;
    let key = redis.commands.keys().session(&session("s"));
    let records = in_redis(&redis, "n1");
    records.save(&snapshot("s", 1, 1)).await.unwrap();
    redis.commands.query::<()>(redis::cmd("PEXPIRE").arg(&key).arg(5000)).await.unwrap();
    records.save(&snapshot("s", 1, 2)).await.unwrap();
    assert!(redis.ttl(&key).await > TTL - Duration::from_secs(60));
}

#[tokio::test]
async fn a_session_with_a_thousand_subscriptions_is_saved() {
    let redis = Redis::new().await;
    let records = in_redis(&redis, "n1");
    let mut large = snapshot("s", 1, 1);
    large.subscriptions = large.subscriptions.iter().cloned().cycle().take(1000).collect();
    records.save(&large).await.unwrap();
    assert_eq!(records.load(&session("s")).await, Ok(Some(large)));
}

#[tokio::test]
async fn what_is_no_record_is_no_session() {
    let redis = Redis::new().await;
    let key = redis.commands.keys().session(&session("s"));
    redis.commands.query::<()>(redis::cmd("HSET").arg(&key).arg(("user", "a"))).await.unwrap();
    assert_eq!(in_redis(&redis, "n1").load(&session("s")).await, Ok(None));
}

#[tokio::test]
async fn without_redis_nothing_is_said_about_a_record() {
    let (commands, _tasks, _stop) = Redis::nowhere().await;
    let records = RedisSessionRecords::new(Config { ttl: TTL, node: "n1".to_owned() }, commands);
    assert_eq!(records.save(&snapshot("s", 1, 1)).await, Err(BusError::Unavailable));
    assert_eq!(records.load(&session("s")).await, Err(BusError::Unavailable));
}
