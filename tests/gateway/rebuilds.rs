//! Sessions that another node rebuilds while their clients come and go.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::adapters::outbound::memory::bus::{Config as BusConfig, MemoryBus};
use edgeway::adapters::outbound::memory::records::{Config as RecordsConfig, MemorySessionRecords};
use edgeway::application::gateway::Ports;
use edgeway::application::ports::bus::{
    BusError, EventBus, EventLog, LiveSink, LiveSubscription, LogSlice, ReadFrom,
};
use edgeway::application::ports::clock::Clock;
use edgeway::application::ports::records::{Saved, SessionRecords};
use edgeway::domain::event::LogPosition;
use edgeway::domain::ids::{FeedKey, SessionId, UserId};
use edgeway::domain::time::UnixMillis;
use edgeway::session::reader::Resume;
use edgeway::session::snapshot::SessionSnapshot;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::node::{Node, dialog};

/// Until everything that can be done at once is done.
const MOMENT: Duration = Duration::from_secs(1);

/// Records that take nothing until they are let.
struct Slow {
    records: Arc<dyn SessionRecords>,
    permits: Semaphore,
}

#[async_trait]
impl SessionRecords for Slow {
    async fn save(&self, snapshot: &SessionSnapshot) -> Result<Saved, BusError> {
        let _permit = self.permits.acquire().await.unwrap();
        self.records.save(snapshot).await
    }

    async fn load(&self, session: &SessionId) -> Result<Option<SessionSnapshot>, BusError> {
        self.records.load(session).await
    }

    async fn forget_user(&self, user: &UserId) -> Result<(), BusError> {
        self.records.forget_user(user).await
    }

    async fn remove(&self, session: &SessionId, user: &UserId) -> Result<(), BusError> {
        self.records.remove(session, user).await
    }
}

/// A bus on which a dialog's log is read only as often as it is let.
struct SlowToRead {
    bus: Arc<MemoryBus>,
    permits: Semaphore,
}

#[async_trait]
impl EventBus for SlowToRead {
    async fn subscribe(
        &self,
        feed: &FeedKey,
        sink: Arc<dyn LiveSink>,
    ) -> Result<Box<dyn LiveSubscription>, BusError> {
        self.bus.subscribe(feed, sink).await
    }

    async fn read(&self, feed: &FeedKey, from: ReadFrom, limit: usize) -> Result<LogSlice, BusError> {
        // Where the log stands is always told.
        if feed.dialog().is_some() && from != ReadFrom::Newest {
            self.permits.acquire().await.unwrap().forget();
        }
        self.bus.read(feed, from, limit).await
    }

    async fn heads(&self, feeds: &[FeedKey]) -> Result<Vec<LogPosition>, BusError> {
        self.bus.heads(feeds).await
    }

    async fn publish_ephemeral(&self, feed: &FeedKey, json: Bytes) -> Result<(), BusError> {
        self.bus.publish_ephemeral(feed, json).await
    }

    fn time(&self) -> UnixMillis {
        self.bus.time()
    }

    fn settled(&self) -> UnixMillis {
        self.bus.settled()
    }
}

/// What the nodes have in common.
struct Shared {
    bus: Arc<MemoryBus>,
    records: Arc<dyn SessionRecords>,
}

impl Shared {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        Self {
            bus: Arc::new(MemoryBus::new(BusConfig::default(), clock.clone())),
            records: Arc::new(MemorySessionRecords::new(RecordsConfig::default(), clock)),
        }
    }

    fn node(&self, change: impl FnOnce(&mut Ports)) -> Node {
        Node::with(|ports| {
            ports.bus = self.bus.clone();
            ports.records = self.records.clone();
            change(ports);
        })
    }

    async fn note(&self, id: &str, text: &str) {
        let json = format!(r#"{{"type":"x.note","dialog_id":"{id}","data":"{text}"}}"#);
        self.bus.append(&FeedKey::Dialog(dialog(id)), text, json.into()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_reads_on_in_a_generation_that_no_record_has() {
    let shared = Shared::new();
    let first = shared.node(|_| {});
    let alice = first.attach("alice").await;
    alice.subscribe(&["tea"]).await.unwrap();
    shared.note("tea", "one").await;
    alice.hear_until("one").await;
    let (session, from) = (alice.reading.session().id().clone(), alice.reading.reached().unwrap());
    drop((alice, first));

    // Her client goes away in the middle of the rebuild, and another of its connections does not know where it was.
    let slow = Arc::new(Slow { records: shared.records.clone(), permits: Semaphore::new(0) });
    let second = shared.node(|ports| ports.records = slow.clone());
    timeout(MOMENT, second.attach_again("alice", &session, from)).await.map(drop).unwrap_err();
    timeout(MOMENT, second.attach_anywhere("alice", &session)).await.map(drop).unwrap_err();
    slow.permits.add_permits(1);
    let alice = second.attach_anywhere("alice", &session).await;
    shared.note("tea", "two").await;
    alice.hear_until("two").await;
    let reached = alice.reading.reached().unwrap();
    drop((alice, second));

    let third = shared.node(|_| {});
    let alice = third.attach_again("alice", &session, reached).await;
    assert_eq!(alice.reading.resume, Resume::Rebuilt);
    assert_eq!(alice.reading.session().id(), &session);
    shared.note("tea", "three").await;
    alice.hear_until("three").await;
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_was_begun_is_finished_though_its_client_goes_away() {
    let shared = Shared::new();
    let first = shared.node(|_| {});
    let alice = first.attach("alice").await;
    alice.follow_tea(None, true).await;
    let (session, from) = (alice.reading.session().id().clone(), alice.reading.cursor);
    drop((alice, first));

    let slow = Arc::new(Slow { records: shared.records.clone(), permits: Semaphore::new(0) });
    let second = shared.node(|ports| ports.records = slow.clone());
    timeout(MOMENT, second.attach_again("alice", &session, from)).await.map(drop).unwrap_err();
    slow.permits.add_permits(1);
    let bob = second.attach("bob").await;
    assert_eq!(bob.sees_in_tea().await, ["alice"], "until she counts as gone");
}

#[tokio::test(start_paused = true)]
async fn rebuilt_amid_a_rebuild_the_users_own_feed_comes_first_again() {
    let shared = Shared::new();
    let first = shared.node(|_| {});
    let alice = first.attach("alice").await;
    alice.subscribe(&["cake", "tea"]).await.unwrap();
    let (session, from) = (alice.reading.session().id().clone(), alice.reading.cursor);
    drop((alice, first));
    let own = FeedKey::User(UserId::parse("alice").unwrap());
    let joining = r#"{"type":"membership","dialog_id":"coffee","user_id":"alice","change":"added"}"#;
    shared.bus.append(&own, "joining", joining.into()).await.unwrap();
    shared.note("cake", "none").await;
    shared.note("tea", "one more").await;

    let slow = Arc::new(SlowToRead { bus: shared.bus.clone(), permits: Semaphore::new(0) });
    let second = shared.node(|ports| ports.bus = slow.clone());
    let alice = second.attach_again("alice", &session, from).await;
    alice.hear_until("coffee").await;
    drop(alice);
    // The first dialog's log is being read when she comes back for all of it.
    let alice = second.attach_again("alice", &session, from).await;
    assert_eq!(alice.reading.resume, Resume::Rebuilt);
    slow.permits.add_permits(100);
    let heard = alice.hear_until("one more").await;
    assert!(heard[0].contains("coffee"), "{heard:#?}");
}
