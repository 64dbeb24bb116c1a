//! The bus inside the process: the same log, the same offsets, the same live delivery as with Redis.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;

pub use super::bus_config::{Config, FEED_TTL, FEEDS_MAX, LOG_ENTRIES_MAX, LOG_TTL, LOGS_MAX_BYTES};
use super::feeds::Feeds;
use super::live::{Delivery, Subscriber};
use crate::application::ports::bus::{
    Appended, BusError, EVENT_MAX_BYTES, EventBus, EventLog, LivePayload, LiveSink, LiveSubscription,
    LogSlice, ReadFrom,
};
use crate::application::ports::clock::Clock;
use crate::application::ports::telemetry::measure::{Gauges, Measure};
use crate::domain::event::LogPosition;
use crate::domain::ids::FeedKey;
use crate::domain::time::UnixMillis;

/// The bus inside the process, for one node, or for several that share a process in a test.
///
/// Its time never goes back, even when the clock's does: an entry is never stamped earlier than a time that
/// [`EventBus::settled`] has already given out.
pub struct MemoryBus {
    pub(super) feeds: Arc<Feeds>,
    clock: Arc<dyn Clock>,
    config: Config,
    latest_millis: AtomicU64,
    next_subscriber: AtomicU64,
    pub(super) down: AtomicBool,
    /// Since when live deliveries may be missing without word of it; `u64::MAX` when none are.
    pub(super) unsettled_since_millis: AtomicU64,
}

impl MemoryBus {
    /// An empty bus.
    #[must_use]
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            feeds: Arc::new(Feeds::new(config)),
            clock,
            config,
            latest_millis: AtomicU64::new(0),
            next_subscriber: AtomicU64::new(0),
            down: AtomicBool::new(false),
            unsettled_since_millis: AtomicU64::new(u64::MAX),
        }
    }

    fn up(&self) -> Result<(), BusError> {
        if self.down.load(Ordering::Acquire) { Err(BusError::Unavailable) } else { Ok(()) }
    }

    /// Delivers what [`super::live::Channel::offer`] made this caller's turn, and what others leave meanwhile.
    pub(super) fn carry(&self, feed: &FeedKey, mine: Option<Delivery>) {
        let Some(mine) = mine else { return };
        let mut turn = Turn { feeds: &self.feeds, feed, over: false };
        let mut next = Some(mine);
        while let Some(delivery) = next {
            delivery.deliver();
            next = self.feeds.with_channel(feed, |channel| channel.next()).flatten();
        }
        turn.over = true;
    }
}

impl Gauges for MemoryBus {
    fn measure(&self, note: &mut dyn FnMut(Measure, f64)) {
        // Nothing lies in between that could be silent.
        note(Measure::BusProbeAge, 0.0);
    }
}

#[async_trait]
impl EventLog for MemoryBus {
    async fn append(&self, feed: &FeedKey, event_key: &str, json: Bytes) -> Result<Appended, BusError> {
        self.up()?;
        if json.len() > EVENT_MAX_BYTES {
            return Err(BusError::TooLarge);
        }
        let now = self.time();
        let (appended, mine) = self.feeds.with(feed, now, |feed| {
            if let Some(first) = feed.log.repeated(event_key) {
                return (first, None);
            }
            let entry = feed.log.append(event_key, json, now, self.config.log_entries_max);
            let appended = Appended {
                position: LogPosition { epoch: entry.epoch.clone(), offset: entry.offset },
                at: entry.at,
                repeated: false,
            };
            if feed.live_to_lose > 0 {
                feed.live_to_lose -= 1;
                return (appended, None);
            }
            (appended, feed.channel.offer(LivePayload::Logged(entry)))
        });
        self.carry(feed, mine);
        Ok(appended)
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn subscribe(
        &self,
        feed: &FeedKey,
        sink: Arc<dyn LiveSink>,
    ) -> Result<Box<dyn LiveSubscription>, BusError> {
        self.up()?;
        let id = self.next_subscriber.fetch_add(1, Ordering::Relaxed);
        let ended = Arc::new(AtomicBool::new(false));
        let subscriber = Subscriber { id, sink, ended: ended.clone() };
        let replaced = self.feeds.with(feed, self.time(), |feed| feed.channel.add(subscriber));
        drop(replaced);
        Ok(Box::new(Subscription { feeds: Arc::downgrade(&self.feeds), feed: feed.clone(), id, ended }))
    }

    async fn read(&self, feed: &FeedKey, from: ReadFrom, limit: usize) -> Result<LogSlice, BusError> {
        self.up()?;
        Ok(self.feeds.with(feed, self.time(), |feed| feed.log.read(from, limit)))
    }

    async fn heads(&self, feeds: &[FeedKey]) -> Result<Vec<LogPosition>, BusError> {
        self.up()?;
        let now = self.time();
        let head = |feed| self.feeds.with(feed, now, |feed| feed.log.read(ReadFrom::Newest, 0).head);
        Ok(feeds.iter().map(head).collect())
    }

    async fn publish_ephemeral(&self, feed: &FeedKey, json: Bytes) -> Result<(), BusError> {
        self.up()?;
        if json.len() > EVENT_MAX_BYTES {
            return Err(BusError::TooLarge);
        }
        let mine = self.feeds.with_channel(feed, |channel| channel.offer(LivePayload::Ephemeral(json)));
        self.carry(feed, mine.flatten());
        Ok(())
    }

    fn time(&self) -> UnixMillis {
        let now = self.clock.unix().0;
        let latest = self.latest_millis.load(Ordering::Acquire);
        // Asked for with every delivery: written only when a new millisecond has begun.
        if latest >= now {
            return UnixMillis(latest);
        }
        UnixMillis(self.latest_millis.fetch_max(now, Ordering::AcqRel).max(now))
    }

    fn settled(&self) -> UnixMillis {
        let unsettled = UnixMillis(self.unsettled_since_millis.load(Ordering::Acquire));
        self.time().min(unsettled)
    }
}

/// Takes its own subscriber off the feed, and no other. A delivery that is just under way in another thread may still
/// end after that.
struct Subscription {
    /// Weak, since a sink may own its subscription: the bus must not keep itself alive through its sinks.
    feeds: Weak<Feeds>,
    feed: FeedKey,
    id: u64,
    ended: Arc<AtomicBool>,
}

impl LiveSubscription for Subscription {}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(feeds) = self.feeds.upgrade() {
            // Dropped here, with no lock held: the last hold on a sink may drop other subscriptions.
            drop(feeds.with_channel(&self.feed, |channel| channel.remove(self.id)));
        }
    }
}

/// The right to deliver on a feed, given back even by a sink that panics.
struct Turn<'a> {
    feeds: &'a Feeds,
    feed: &'a FeedKey,
    over: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.feeds.with_channel(self.feed, |channel| channel.abandon());
        }
    }
}
