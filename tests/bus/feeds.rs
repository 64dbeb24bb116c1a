//! Feeds over a bus that does exactly what a test says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use edgeway::adapters::inbound::wire::events::JsonCodec;
use edgeway::application::feed::context::{Caretaker, FeedContext};
use edgeway::application::feed::registry::FeedRegistry;
use edgeway::application::ports::bus::{
    BusError, EVENT_MAX_BYTES, EventBus, LivePayload, LiveSink, LiveSubscription, LogEntry, LogSlice,
    ReadFrom,
};
use edgeway::application::ports::clock::ManualClock;
use edgeway::application::ports::telemetry::labels::RepairReason;
use edgeway::application::ports::telemetry::occurrence::{Occurrence, Telemetry};
use edgeway::application::sessions::live::LiveSession;
use edgeway::domain::event::{LogPosition, NodeWord};
use edgeway::domain::ids::{DialogId, FeedKey, UserId};
use edgeway::domain::time::UnixMillis;
use tokio_util::task::TaskTracker;

use super::on_redis::dialog;

const PATIENCE: Duration = Duration::from_secs(10);

/// One log, and what is to happen at certain moments.
#[derive(Default)]
struct Scripted {
    log: Mutex<Vec<LogEntry>>,
    sink: Mutex<Option<Arc<dyn LiveSink>>>,
    /// Entries that come live before the first subscriber has read where the log stands.
    early: Mutex<Vec<LogEntry>>,
    /// What is appended, and comes live, while the audit's answer is on its way.
    overtaking: Mutex<Vec<LogEntry>>,
}

struct Silent;
impl LiveSubscription for Silent {}

impl Scripted {
    fn append(&self, json: Bytes) {
        let mut log = self.log.lock().unwrap();
        let entry = LogEntry { epoch: "e".into(), offset: log.len() as u64 + 1, at: UnixMillis(1), json };
        log.push(entry);
    }

    fn comes_live(&self, entry: LogEntry) {
        let sink = self.sink.lock().unwrap().clone();
        sink.expect("somebody listens").live(LivePayload::Logged(entry));
    }

    fn head(&self) -> LogPosition {
        LogPosition { epoch: "e".into(), offset: self.log.lock().unwrap().len() as u64 }
    }
}

#[async_trait]
impl EventBus for Scripted {
    async fn subscribe(
        &self,
        _: &FeedKey,
        sink: Arc<dyn LiveSink>,
    ) -> Result<Box<dyn LiveSubscription>, BusError> {
        *self.sink.lock().unwrap() = Some(sink);
        for entry in std::mem::take(&mut *self.early.lock().unwrap()) {
            self.comes_live(entry);
        }
        Ok(Box::new(Silent))
    }

    async fn read(&self, _: &FeedKey, from: ReadFrom, limit: usize) -> Result<LogSlice, BusError> {
        let head = self.head();
        let after = if let ReadFrom::AfterOffset(offset) = from { offset } else { 0 };
        let log = self.log.lock().unwrap();
        let entries = log.iter().filter(|entry| entry.offset > after).take(limit).cloned().collect();
        Ok(LogSlice { head, first_offset: 1, entries })
    }

    async fn heads(&self, feeds: &[FeedKey]) -> Result<Vec<LogPosition>, BusError> {
        let head = self.head();
        for entry in std::mem::take(&mut *self.overtaking.lock().unwrap()) {
            self.log.lock().unwrap().push(entry.clone());
            self.comes_live(entry);
        }
        // The feed works them off before the answer is there.
        tokio::task::yield_now().await;
        Ok(vec![head; feeds.len()])
    }

    async fn publish_ephemeral(&self, _: &FeedKey, _: Bytes) -> Result<(), BusError> {
        Ok(())
    }

    fn time(&self) -> UnixMillis {
        UnixMillis(1)
    }

    fn settled(&self) -> UnixMillis {
        UnixMillis(1)
    }
}

#[derive(Default)]
struct Noted(Mutex<Vec<RepairReason>>);

impl Telemetry for Noted {
    fn record(&self, occurrence: Occurrence) {
        if let Occurrence::Repaired(reason) = occurrence {
            self.0.lock().unwrap().push(reason);
        }
    }
}

impl Caretaker for Noted {
    fn attend(&self, _: &Arc<LiveSession>) {}
    fn membership_changed(&self, _: &UserId, _: &DialogId) {}
    fn words_missed(&self, _: &Arc<LiveSession>) {}
    fn node_said(&self, _: &FeedKey, _: &NodeWord) {}
}

fn registry(bus: &Arc<Scripted>) -> (FeedRegistry, Arc<Noted>) {
    let noted = Arc::new(Noted::default());
    let context =
        FeedContext::new(bus.clone(), Arc::new(JsonCodec), noted.clone(), noted.clone(), TaskTracker::new());
    (FeedRegistry::new(Arc::new(context), Arc::new(ManualClock::at(UnixMillis(1)))), noted)
}

fn note(offset: u64) -> LogEntry {
    let json = Bytes::from_static(br#"{"type":"x.note","dialog_id":"d","data":1}"#);
    LogEntry { epoch: "e".into(), offset, at: UnixMillis(1), json }
}

#[tokio::test]
async fn an_audit_that_is_overtaken_by_an_event_repairs_nothing() {
    let bus = Arc::new(Scripted::default());
    bus.append(note(1).json);
    let (feeds, noted) = registry(&bus);
    let feed = feeds.open(&dialog("d")).await.unwrap();
    bus.overtaking.lock().unwrap().push(note(2));
    feeds.audit().await.unwrap();
    assert_eq!(feed.position(), Some(bus.head()));
    assert_eq!(*noted.0.lock().unwrap(), []);
    // What was logged and never came live is found all the same.
    bus.append(note(3).json);
    feeds.audit().await.unwrap();
    reaches(|| feed.position() == Some(bus.head())).await;
    assert_eq!(*noted.0.lock().unwrap(), [RepairReason::Audit]);
}

#[tokio::test]
async fn what_waits_for_a_feed_is_bounded_in_bytes_and_the_rest_is_read_from_the_log() {
    const LARGE: u64 = 40;
    let bus = Arc::new(Scripted::default());
    let (feeds, noted) = registry(&bus);
    let large = Bytes::from(vec![b' '; EVENT_MAX_BYTES]);
    for offset in 1..=LARGE {
        // Live first: the log still stands at its beginning when the feed asks.
        bus.early.lock().unwrap().push(LogEntry { json: large.clone(), ..note(offset) });
    }
    let feed = feeds.open(&dialog("d")).await.unwrap();
    for _ in 0..LARGE {
        bus.append(large.clone());
    }
    reaches(|| feed.position() == Some(bus.head())).await;
    assert_eq!(*noted.0.lock().unwrap(), [RepairReason::Overflow]);
}

async fn reaches(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to it");
}
