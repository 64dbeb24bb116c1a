//! Many feeds on a real Redis: `make bench-feeds`. What the figures mean is in `docs/performance.md`.
//!
//! One node's bus and feeds run in this process, each feed followed by a session; redis-server is a child.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement prints, and ends when something is wrong"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeway::adapters::inbound::wire::events::JsonCodec;
use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::adapters::outbound::redis::bus::{Config, PUBLISH_SCRIPT, RedisBus};
use edgeway::adapters::outbound::redis::commands::{self, RedisCommands};
use edgeway::application::feed::context::{Caretaker, FeedContext};
use edgeway::application::feed::registry::{FeedRegistry, Membership};
use edgeway::application::ports::bus::{EventBus, LogEntry};
use edgeway::application::ports::codec::{EventCodec, Undecodable};
use edgeway::application::ports::telemetry::occurrence::{Occurrence, Telemetry};
use edgeway::application::sessions::live::LiveSession;
use edgeway::application::vital::VitalTasks;
use edgeway::domain::event::{Event, LogEpoch, NodeWord};
use edgeway::domain::ids::{DialogId, FeedKey, SessionId, UserId};
use edgeway::domain::message::Message;
use edgeway::domain::presence::{Presence, TypingState};
use edgeway::domain::time::{Tick, UnixMillis};
use edgeway::session::machine::{Config as SessionConfig, Session};
use edgeway::session::replay::Gap;
use futures_util::StreamExt;
use futures_util::stream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use redis_server::RedisServer;

#[allow(dead_code, reason = "the benchmark uses part of it")]
#[path = "../tests/support/redis_server.rs"]
mod redis_server;

const FEEDS: usize = 10_000;
const SUBSCRIBED_GOAL: Duration = Duration::from_secs(2);
const REPAIRED_GOAL: Duration = Duration::from_secs(3);
/// Dialogs that one session joins at the same time, and sessions that do so.
const JOINS_OF_A_SESSION: usize = 32;
const SESSIONS_AT_ONCE: usize = 50;
const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(60);
const MESSAGE: &str = concat!(
    r#"{"type":"message_new","dialog_id":"d0","message":{"message_id":"0198a7c2-6a1e-7c3b-9d54-0f2b6f1c7e10","#,
    r#""dialog_id":"d0","seq":4711,"sender_id":"alice","client_message_id":"c-0198a7c26a1e","#,
    r#""body":{"text":"Shall we meet at the usual place at seven? I'll bring the maps."},"#,
    r#""created_at":"2027-01-15T08:00:00.000Z"}}"#
);

/// Counts what is decoded and repaired, and looks after nobody.
#[derive(Default)]
struct Counts {
    decoded: AtomicUsize,
    repaired: AtomicUsize,
}

impl EventCodec for Counts {
    fn decode_logged(&self, feed: &FeedKey, entry: &LogEntry) -> Result<Event, Undecodable> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        JsonCodec.decode_logged(feed, entry)
    }
    fn decode_ephemeral(&self, feed: &FeedKey, json: &Bytes) -> Result<Event, Undecodable> {
        JsonCodec.decode_ephemeral(feed, json)
    }
    fn typing(&self, dialog: &DialogId, user: &UserId, state: TypingState, expires_in: Duration) -> Bytes {
        JsonCodec.typing(dialog, user, state, expires_in)
    }
    fn presence(&self, dialog: &DialogId, presence: &Presence) -> Bytes {
        JsonCodec.presence(dialog, presence)
    }
    fn gap(&self, feed: &FeedKey, epoch: &LogEpoch, gap: &Gap, restored: bool) -> Bytes {
        JsonCodec.gap(feed, epoch, gap, restored)
    }
    fn kick(&self, user: &UserId, reason: &str) -> Bytes {
        JsonCodec.kick(user, reason)
    }
    fn node_word(&self, user: &UserId, word: &NodeWord) -> Bytes {
        JsonCodec.node_word(user, word)
    }
    fn restored(&self, message: &Message) -> Bytes {
        JsonCodec.restored(message)
    }
}

impl Caretaker for Counts {
    fn attend(&self, _: &Arc<LiveSession>) {}
    fn membership_changed(&self, _: &UserId, _: &DialogId) {}
    fn words_missed(&self, _: &Arc<LiveSession>) {}
    fn node_said(&self, _: &FeedKey, _: &NodeWord) {}
}

impl Telemetry for Counts {
    fn record(&self, occurrence: Occurrence) {
        if let Occurrence::Repaired(_) = occurrence {
            self.repaired.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One node, as far as feeds are concerned.
struct Node {
    feeds: FeedRegistry,
    bus: Arc<RedisBus>,
    counts: Arc<Counts>,
    stop: CancellationToken,
}

impl Node {
    async fn start(server: &RedisServer) -> Self {
        let clock = Arc::new(SystemClock::start());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let vital = VitalTasks::from(tasks.clone());
        let servers = commands::Config::new(format!("redis://127.0.0.1:{}", server.port()));
        let commands = RedisCommands::start(&servers, &vital, stop.clone()).expect("the URL is good");
        let bus = RedisBus::start(&servers, commands, Config::default(), clock.clone(), &vital, stop.clone());
        let bus = Arc::new(bus.expect("the URL is good"));
        let counts = Arc::new(Counts::default());
        let context =
            FeedContext::new(bus.clone(), counts.clone(), counts.clone(), counts.clone(), tasks.clone());
        let node = Self { feeds: FeedRegistry::new(Arc::new(context), clock), bus, counts, stop };
        until("the bus answers", || node.bus.settled().0 > 0).await;
        node
    }

    /// As sessions do it that come at the same time.
    async fn follow(&self, dialogs: usize) -> Vec<(Membership, Arc<LiveSession>)> {
        let sessions = (0..dialogs).map(session);
        let joins = sessions.enumerate().map(|(n, session)| async move {
            (self.feeds.join(&dialog(n), &session).await.expect("Redis is there"), session)
        });
        stream::iter(joins).buffer_unordered(JOINS_OF_A_SESSION * SESSIONS_AT_ONCE).collect().await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn dialog(n: usize) -> FeedKey {
    FeedKey::Dialog(DialogId::parse(&format!("d{n}")).expect("an id"))
}

fn session(n: usize) -> Arc<LiveSession> {
    let id = SessionId::parse(&format!("s{n}")).expect("an id");
    let user = UserId::parse(&format!("u{n}")).expect("an id");
    let config = Arc::new(SessionConfig::default());
    LiveSession::new(Session::new(config, id, user, None, 1, Tick(0), UnixMillis(1_800_000_000_000)))
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited in vain until {what}");
}

#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn now() -> Instant {
    Instant::now()
}

fn report(what: &str, took: Duration, goal: Duration) {
    let verdict = if took <= goal { "kept" } else { "MISSED" };
    println!("{what}: {:.2} s (goal: {} s, {verdict})", took.as_secs_f64(), goal.as_secs());
}

async fn subscribe_and_subscribe_again() {
    let server = RedisServer::start();
    let node = Node::start(&server).await;
    let started = now();
    let members = node.follow(FEEDS).await;
    report("10,000 dialogs subscribed at start-up", started.elapsed(), SUBSCRIBED_GOAL);

    let repaired = node.counts.repaired.load(Ordering::Relaxed);
    let started = now();
    let _: usize =
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).query(&mut server.by_hand()).expect("killed");
    until("all are repaired", || node.counts.repaired.load(Ordering::Relaxed) >= repaired + FEEDS).await;
    report("10,000 feeds subscribed again and repaired, link killed", started.elapsed(), REPAIRED_GOAL);

    for down_for in [Duration::ZERO, Duration::from_secs(5)] {
        let epochs: Vec<_> = members.iter().map(|(member, _)| member.feed.position()).collect();
        server.kill();
        tokio::time::sleep(down_for).await;
        // Returns when it is ready to take connections.
        server.restart();
        let started = now();
        until("all are in the new log", || {
            members.iter().zip(&epochs).all(|((member, _), old)| {
                member.feed.position().map(|new| new.epoch) != old.as_ref().map(|old| old.epoch.clone())
            })
        })
        .await;
        let what = format!(
            "10,000 feeds subscribed again and repaired, Redis restarted after {} s",
            down_for.as_secs()
        );
        report(&what, started.elapsed(), REPAIRED_GOAL);
    }

    let started = now();
    node.feeds.audit().await.expect("Redis is there");
    println!("10,000 feeds audited: {:.2} s", started.elapsed().as_secs_f64());
}

async fn one_message_and_one_decode() {
    const EVENTS: usize = 200;
    let server = RedisServer::start();
    let mut hand = server.by_hand();
    let script = redis::Script::new(PUBLISH_SCRIPT);
    for sessions in [1, 100, 10_000] {
        let node = Node::start(&server).await;
        let key = dialog(0);
        let mut followers = Vec::new();
        for n in 0..sessions {
            followers.push(node.feeds.join(&key, &session(n)).await.expect("Redis is there"));
        }
        let receivers: (String, usize) = redis::cmd("PUBSUB")
            .arg(&["SHARDNUMSUB", "edgeway:{d:d0}:live"])
            .query(&mut hand)
            .expect("it tells");
        // A feed that connects reads the newest entry: that is none of these.
        let before = node.counts.decoded.load(Ordering::Relaxed);
        let started = now();
        for n in 0..EVENTS {
            let mut call = script.key("edgeway:{d:d0}:log");
            call.key("edgeway:{d:d0}:meta").key("edgeway:{d:d0}:live");
            call.arg(MESSAGE).arg(format!("{sessions} {n}")).arg(1000).arg(86400);
            let _: (String, u64, String) = call.invoke(&mut hand).expect("it is appended");
        }
        let head = node.bus.heads(std::slice::from_ref(&key)).await.expect("Redis is there").remove(0);
        let feed = &followers[0].feed;
        until("all have arrived", || feed.position().as_ref() == Some(&head)).await;
        let decoded = node.counts.decoded.load(Ordering::Relaxed) - before;
        println!(
            "{EVENTS} events to {sessions} sessions: {} Redis message and {:.2} decodes each, {:.2} s",
            receivers.1,
            decoded as f64 / EVENTS as f64,
            started.elapsed().as_secs_f64(),
        );
        assert_eq!((receivers.1, decoded), (1, EVENTS));
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    subscribe_and_subscribe_again().await;
    one_message_and_one_decode().await;
}
