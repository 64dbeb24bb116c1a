//! The bus inside the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use edgeway::adapters::outbound::memory::bus::{Config, MemoryBus};
use edgeway::application::ports::bus::{
    BusError, EventBus, EventLog, LivePayload, LiveSink, LiveSubscription, ReadFrom,
};
use edgeway::application::ports::clock::ManualClock;
use edgeway::domain::ids::{DialogId, FeedKey};
use edgeway::domain::time::UnixMillis;
use futures_util::FutureExt;
use parking_lot::Mutex;

use super::contract::BusUnderTest;
use super::recorder::Recorder;

const START: UnixMillis = UnixMillis(1_800_000_000_000);

struct Embedded {
    clock: Arc<ManualClock>,
    bus: Arc<MemoryBus>,
}

impl Embedded {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(START));
        Self { clock: clock.clone(), bus: Arc::new(MemoryBus::new(Config::default(), clock)) }
    }

    async fn append(&self, key: &str) -> u64 {
        self.bus.append(&feed(), key, Bytes::from(key.to_owned())).await.unwrap().position.offset
    }

    async fn listen(&self) -> (Arc<Recorder>, Box<dyn LiveSubscription>) {
        let recorder = Arc::new(Recorder::default());
        let subscription = self.bus.subscribe(&feed(), recorder.clone()).await.unwrap();
        (recorder, subscription)
    }
}

#[async_trait]
impl BusUnderTest for Embedded {
    async fn start() -> Self {
        Self::new()
    }

    fn bus(&self) -> Arc<dyn EventBus> {
        self.bus.clone()
    }

    fn log(&self) -> Arc<dyn EventLog> {
        self.bus.clone()
    }

    async fn trim(&self, feed: &FeedKey, keep: usize) {
        self.bus.trim(feed, keep);
    }

    async fn forget(&self, feed: &FeedKey) {
        self.bus.reset(feed);
    }

    async fn let_time_pass(&self) {
        self.clock.advance(Duration::from_millis(10));
    }
}

super::suite::bus_suite!(Embedded);

fn feed() -> FeedKey {
    FeedKey::Dialog(DialogId::parse("d").unwrap())
}

/// What was heard, in short: offsets, `~` for an ephemeral, `?` for garbage, `!` for an interruption.
fn heard(recorder: &Recorder) -> String {
    let one = |payload: LivePayload| match payload {
        LivePayload::Logged(entry) => entry.offset.to_string(),
        LivePayload::Ephemeral(_) => "~".to_owned(),
        LivePayload::Garbage(_) => "?".to_owned(),
        LivePayload::Interrupted => "!".to_owned(),
    };
    recorder.so_far().into_iter().map(one).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn lost_live_deliveries_are_in_the_log() {
    let embedded = Embedded::new();
    let (recorder, _subscription) = embedded.listen().await;
    embedded.bus.drop_live(&feed(), 2);
    for key in ["a", "b", "c"] {
        embedded.append(key).await;
    }
    assert_eq!(heard(&recorder), "3");
    assert_eq!(embedded.bus.read(&feed(), ReadFrom::AfterOffset(0), 9).await.unwrap().entries.len(), 3);
}

#[tokio::test]
async fn an_interruption_reaches_every_sink() {
    let embedded = Embedded::new();
    let (first, _one) = embedded.listen().await;
    let (second, _two) = embedded.listen().await;
    embedded.bus.interrupt_all();
    embedded.bus.inject_live(&feed(), LivePayload::Ephemeral(Bytes::from_static(b"not JSON")));
    assert_eq!([heard(&first), heard(&second)], ["! ~", "! ~"]);
}

#[tokio::test]
async fn a_rewound_log_gives_its_offsets_out_again_in_the_same_epoch() {
    let embedded = Embedded::new();
    let (recorder, _subscription) = embedded.listen().await;
    for key in ["a", "b", "c"] {
        embedded.append(key).await;
    }
    let before = embedded.bus.read(&feed(), ReadFrom::Newest, 0).await.unwrap().head;
    embedded.bus.rewind(&feed(), 2);
    assert_eq!(embedded.append("d").await, 2);
    assert_eq!(heard(&recorder), "1 2 3 2");
    let after = embedded.bus.read(&feed(), ReadFrom::Newest, 0).await.unwrap().head;
    assert_eq!((after.epoch, after.offset), (before.epoch, 2));
}

#[tokio::test]
async fn a_bus_that_is_down_refuses_every_call_and_interrupts_when_it_comes_up() {
    let embedded = Embedded::new();
    let (recorder, _subscription) = embedded.listen().await;
    embedded.append("a").await;
    embedded.bus.set_down(true);
    embedded.clock.advance(Duration::from_secs(5));
    let bus = &embedded.bus;
    assert_eq!(bus.append(&feed(), "b", Bytes::new()).await, Err(BusError::Unavailable));
    assert_eq!(bus.read(&feed(), ReadFrom::Newest, 1).await, Err(BusError::Unavailable));
    assert_eq!(bus.publish_ephemeral(&feed(), Bytes::new()).await, Err(BusError::Unavailable));
    assert!(bus.subscribe(&feed(), recorder.clone()).await.is_err());
    bus.inject_live(&feed(), LivePayload::Ephemeral(Bytes::new()));
    assert_eq!((bus.settled(), bus.time()), (START, START.plus(Duration::from_secs(5))));
    bus.set_down(false);
    embedded.append("c").await;
    assert_eq!(heard(&recorder), "1 ! 2");
    assert_eq!(bus.settled(), bus.time());
}

#[tokio::test]
async fn the_time_of_the_bus_never_goes_back() {
    let embedded = Embedded::new();
    let settled = embedded.bus.settled();
    embedded.clock.set_unix(START.minus(Duration::from_secs(3600)));
    let appended = embedded.bus.append(&feed(), "a", Bytes::new()).await.unwrap();
    assert!(appended.at >= settled);
    embedded.clock.set_unix(START.plus(Duration::from_secs(3600)));
    assert_eq!(embedded.bus.time(), START.plus(Duration::from_secs(3600)));
}

/// Appends to its own feed, and ends its own subscription, from within.
#[derive(Default)]
struct Restless {
    bus: Mutex<Option<Arc<MemoryBus>>>,
    subscription: Mutex<Option<Box<dyn LiveSubscription>>>,
    heard: Recorder,
}

impl LiveSink for Restless {
    fn live(&self, payload: LivePayload) {
        self.heard.live(payload);
        let bus = self.bus.lock().take();
        if let Some(bus) = bus {
            let appended = bus.append(&feed(), "from within", Bytes::new()).now_or_never();
            assert_eq!(appended.unwrap().unwrap().position.offset, 2);
        } else {
            self.subscription.lock().take();
        }
    }
}

#[tokio::test]
async fn a_sink_may_append_and_unsubscribe_from_within() {
    let embedded = Embedded::new();
    let sink = Arc::new(Restless::default());
    let subscription = embedded.bus.subscribe(&feed(), sink.clone()).await.unwrap();
    *sink.subscription.lock() = Some(subscription);
    *sink.bus.lock() = Some(embedded.bus.clone());
    let (other, _subscription) = embedded.listen().await;
    for key in ["a", "b"] {
        embedded.append(key).await;
    }
    assert_eq!(heard(&sink.heard), "1 2");
    assert_eq!(heard(&other), "1 2 3");
}

#[tokio::test]
async fn a_sink_that_panics_does_not_silence_its_feed() {
    #[derive(Default)]
    struct Fragile(AtomicBool);
    impl LiveSink for Fragile {
        fn live(&self, _: LivePayload) {
            assert!(self.0.swap(true, Ordering::SeqCst), "a bug in the sink");
        }
    }
    let embedded = Embedded::new();
    let _fragile = embedded.bus.subscribe(&feed(), Arc::new(Fragile::default())).await.unwrap();
    let (recorder, _subscription) = embedded.listen().await;
    let appended = std::panic::AssertUnwindSafe(embedded.append("a")).catch_unwind().await;
    assert!(appended.is_err());
    embedded.append("b").await;
    assert_eq!(heard(&recorder), "! 2");
}

#[tokio::test]
async fn a_sink_that_owns_its_subscription_goes_with_the_bus() {
    let embedded = Embedded::new();
    let sink = Arc::new(Restless::default());
    let subscription = embedded.bus.subscribe(&feed(), sink.clone()).await.unwrap();
    *sink.subscription.lock() = Some(subscription);
    let watch = Arc::downgrade(&sink);
    drop((sink, embedded));
    assert!(watch.upgrade().is_none());
}
