//! Fault injection for tests and simulation: what a bus on other machines does on its bad days.

use std::sync::atomic::Ordering;

use super::bus::MemoryBus;
use super::log::Log;
use crate::application::ports::bus::{EventBus, LivePayload};
use crate::domain::ids::FeedKey;

/// # Fault injection
/// For tests and simulation only: nothing in the product calls these.
impl MemoryBus {
    /// Loses the feed's next `n` live deliveries, to every subscriber, though they are logged.
    pub fn drop_live(&self, feed: &FeedKey, n: u64) {
        self.feeds.with(feed, self.time(), |feed| feed.live_to_lose += n);
    }

    /// Hands a payload to the feed's subscribers, in its turn, whatever it says. Lost while the bus is down.
    pub fn inject_live(&self, feed: &FeedKey, payload: LivePayload) {
        if !self.down.load(Ordering::Acquire) {
            self.offer(feed, payload);
        }
    }

    /// Tells every sink that the link was interrupted.
    pub fn interrupt_all(&self) {
        for feed in self.feeds.keys() {
            self.offer(&feed, LivePayload::Interrupted);
        }
    }

    /// Drops all but the log's newest `keep` entries.
    pub fn trim(&self, feed: &FeedKey, keep: usize) {
        self.feeds.with(feed, self.time(), |feed| feed.log.trim(keep));
    }

    /// Loses the log and its place: a new epoch, from offset 0. Subscribers are told nothing.
    pub fn reset(&self, feed: &FeedKey) {
        let log = Log::new(self.feeds.new_epoch());
        self.feeds.with(feed, self.time(), |feed| feed.log = log);
    }

    /// Loses the log's last `by` entries, as a failover to a replica that lags: the next ones take their offsets
    /// again, in the same epoch. Subscribers are told nothing.
    pub fn rewind(&self, feed: &FeedKey, by: usize) {
        self.feeds.with(feed, self.time(), |feed| feed.log.rewind(by));
    }

    /// Takes the bus down: every call fails with `Unavailable`, live deliveries are lost, and
    /// [`EventBus::settled`] stands still. Coming up again interrupts every sink.
    pub fn set_down(&self, down: bool) {
        if down {
            if !self.down.swap(true, Ordering::AcqRel) {
                self.unsettled_since_millis.store(self.time().0, Ordering::Release);
            }
        } else if self.down.swap(false, Ordering::AcqRel) {
            self.interrupt_all();
            self.unsettled_since_millis.store(u64::MAX, Ordering::Release);
        }
    }

    fn offer(&self, feed: &FeedKey, payload: LivePayload) {
        let mine = self.feeds.with_channel(feed, |channel| channel.offer(payload));
        self.carry(feed, mine.flatten());
    }
}
