//! A bus on a redis-server of the tests' own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::adapters::outbound::redis::bus::{Config, PUBLISH_SCRIPT, RedisBus};
use edgeway::adapters::outbound::redis::commands::{self, RedisCommands};
use edgeway::adapters::outbound::redis::keys::Keys;
use edgeway::application::ports::bus::{
    EventBus, EventLog, LivePayload, LiveSubscription, LogSlice, ReadFrom,
};
use edgeway::application::ports::clock::Clock;
use edgeway::application::vital::VitalTasks;
use edgeway::domain::ids::{DialogId, FeedKey};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::contract::BusUnderTest;
use super::recorder::Recorder;
use super::redis_server::RedisServer;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// One node's bus, with a prefix of its own.
pub(crate) struct OnRedis {
    pub(crate) bus: Arc<RedisBus>,
    pub(crate) keys: Keys,
    pub(crate) server: Arc<RedisServer>,
    _stop: DropGuard,
}

/// A bus that is probed often, so that tests of what silence does are short.
pub(crate) fn brisk() -> Config {
    Config {
        probe_every: Duration::from_millis(100),
        silence_max: Duration::from_secs(1),
        ..Config::default()
    }
}

impl OnRedis {
    /// On the server of all tests that run right now.
    pub(crate) async fn shared() -> Self {
        static SHARED: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
        let server = {
            let mut shared = SHARED.lock().unwrap();
            shared.upgrade().unwrap_or_else(|| {
                let server = Arc::new(RedisServer::start());
                *shared = Arc::downgrade(&server);
                server
            })
        };
        let url = format!("redis://127.0.0.1:{}", server.port());
        Self::at(server, &url, brisk(), Arc::new(SystemClock::start())).await
    }

    /// On a server for one test alone: one that will break it.
    pub(crate) async fn alone() -> Self {
        let server = Arc::new(RedisServer::start());
        let url = format!("redis://127.0.0.1:{}", server.port());
        Self::at(server, &url, brisk(), Arc::new(SystemClock::start())).await
    }

    pub(crate) async fn at(
        server: Arc<RedisServer>,
        url: &str,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Self {
        static TESTS: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("test{}", TESTS.fetch_add(1, Ordering::Relaxed));
        let (tasks, stop) = (VitalTasks::default(), CancellationToken::new());
        let servers = commands::Config { prefix, ..commands::Config::new(url.to_owned()) };
        let commands = RedisCommands::start(&servers, &tasks, stop.clone()).unwrap();
        let keys = commands.keys().clone();
        let bus = Arc::new(RedisBus::start(&servers, commands, config, clock, &tasks, stop.clone()).unwrap());
        let on_redis = Self { bus, keys, server, _stop: stop.drop_guard() };
        until("a probe has come back", || on_redis.bus.settled().0 > 0).await;
        on_redis.once_it_answers().await;
        on_redis
    }

    /// Returns once commands are answered (again).
    pub(crate) async fn once_it_answers(&self) {
        let answered = async {
            while self.bus.heads(&[dialog("whatever")]).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("Redis answers");
    }

    pub(crate) async fn append(&self, feed: &FeedKey, key: &str) -> u64 {
        self.bus.append(feed, key, json(key)).await.unwrap().position.offset
    }

    pub(crate) async fn listen(&self, feed: &FeedKey) -> (Arc<Recorder>, Box<dyn LiveSubscription>) {
        let recorder = Arc::new(Recorder::default());
        let subscription = self.bus.subscribe(feed, recorder.clone()).await.unwrap();
        (recorder, subscription)
    }

    pub(crate) async fn read(&self, feed: &FeedKey, after: u64) -> LogSlice {
        self.bus.read(feed, ReadFrom::AfterOffset(after), 1000).await.unwrap()
    }

    /// Calls a command by hand.
    pub(crate) fn call<T: redis::FromRedisValue>(&self, name: &str, arguments: &[&str]) -> T {
        self.try_call(name, arguments).unwrap()
    }

    pub(crate) fn try_call<T: redis::FromRedisValue>(
        &self,
        name: &str,
        arguments: &[&str],
    ) -> redis::RedisResult<T> {
        redis::cmd(name).arg(arguments).query(&mut self.server.by_hand())
    }

    /// Calls the public script by hand, as a Store in another language does.
    pub(crate) fn publish_by_hand<T: redis::FromRedisValue>(
        &self,
        feed: &FeedKey,
        event: &str,
        key: &str,
    ) -> redis::RedisResult<T> {
        let (log, meta, live) = (self.keys.log(feed), self.keys.meta(feed), self.keys.live(feed));
        self.try_call("EVAL", &[PUBLISH_SCRIPT, "3", &log, &meta, &live, event, key, "1000", "86400"])
    }

    /// Does something by hand, and returns once the link has been interrupted and stands again.
    pub(crate) async fn interrupted_by(&self, by: impl FnOnce()) {
        let (witness, _subscription) = self.listen(&dialog("witness")).await;
        by();
        until("it is interrupted", || witness.so_far().contains(&LivePayload::Interrupted)).await;
    }

    pub(crate) fn kill_live_links(&self) {
        let killed: u64 = self.call("CLIENT", &["KILL", "TYPE", "pubsub"]);
        assert!(killed > 0);
    }
}

#[async_trait]
impl BusUnderTest for OnRedis {
    async fn start() -> Self {
        Self::shared().await
    }

    fn bus(&self) -> Arc<dyn EventBus> {
        self.bus.clone()
    }

    fn log(&self) -> Arc<dyn EventLog> {
        self.bus.clone()
    }

    async fn trim(&self, feed: &FeedKey, keep: usize) {
        self.call::<u64>("XTRIM", &[&self.keys.log(feed), "MAXLEN", &keep.to_string()]);
    }

    async fn forget(&self, feed: &FeedKey) {
        self.call::<u64>("DEL", &[&self.keys.log(feed), &self.keys.meta(feed)]);
    }

    async fn let_time_pass(&self) {
        let now = || -> (u64, u64) { self.call("TIME", &[]) };
        let (seconds, micros) = now();
        let started = seconds * 1000 + micros / 1000;
        until("a millisecond has passed", || now().0 * 1000 + now().1 / 1000 > started + 1).await;
    }
}

super::suite::bus_suite!(OnRedis);

pub(crate) fn dialog(name: &str) -> FeedKey {
    FeedKey::Dialog(DialogId::parse(name).unwrap())
}

pub(crate) fn json(key: &str) -> Bytes {
    Bytes::from(format!(r#"{{"type":"x.test","key":"{key}"}}"#))
}

/// Returns once a condition holds of which no event tells; fails if it does not for too long.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited in vain until {what}");
}

/// What was heard, in short: offsets, `~` for an ephemeral, `?` for garbage, `!` for an interruption.
pub(crate) fn heard(recorder: &Recorder) -> String {
    let one = |payload: LivePayload| match payload {
        LivePayload::Logged(entry) => entry.offset.to_string(),
        LivePayload::Ephemeral(_) => "~".to_owned(),
        LivePayload::Garbage(_) => "?".to_owned(),
        LivePayload::Interrupted => "!".to_owned(),
    };
    recorder.so_far().into_iter().map(one).collect::<Vec<_>>().join(" ")
}
