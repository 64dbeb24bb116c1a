//! The outgoing queue: numbered entries from which nothing leaves but by acknowledgement, overflow or a cut.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::ledger::Ledger;
use crate::domain::event::Event;
use crate::domain::ids::FeedKey;
use crate::domain::time::UnixMillis;

/// Bounds of one session's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Most events.
    pub events: usize,
    /// Most bytes of event bodies. (Bodies are shared among sessions; each session counts them in full.)
    pub bytes: usize,
}

/// A numbered event.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Rises by exactly 1 from entry to entry.
    pub number: u64,
    /// The low watermark of the bus time that its cursor tells.
    pub watermark: UnixMillis,
    /// `None` once it was cut: the number stays, so that the chain has no hole.
    pub event: Option<Arc<Event>>,
}

/// What happened to an event that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It stands in the queue.
    Queued,
    /// There is no room, even without what was sent already.
    Full,
}

/// A queue of entries with the numbers `floor + 1 ..= last`.
#[derive(Debug)]
pub struct Outbox {
    entries: VecDeque<Entry>,
    limits: OutboxLimits,
    /// Everything up to this number is not held any more.
    floor: u64,
    /// The watermark of the entry that `floor` numbered.
    floor_watermark: UnixMillis,
    /// The highest number that was ever handed to a reader.
    sent: u64,
    /// The number up to which the current reader was handed everything: below `sent`, if what an earlier reader was
    /// handed got lost.
    read: u64,
    bytes: usize,
    /// Where its places are counted.
    ledger: Option<Arc<Ledger>>,
    /// How many are counted there.
    counted: usize,
}

/// A queue that has become empty gives back room above this many slots.
const RETAINED_SLOTS: usize = 16;

impl Outbox {
    /// An empty queue whose next number is `last + 1`; `watermark` is what the cursor of `last` told.
    #[must_use]
    pub fn new(limits: OutboxLimits, last: u64, watermark: UnixMillis) -> Self {
        let entries = VecDeque::new();
        Self {
            entries,
            limits,
            floor: last,
            floor_watermark: watermark,
            sent: last,
            read: last,
            bytes: 0,
            ledger: None,
            counted: 0,
        }
    }

    /// The same, its places counted. Only for an empty one.
    #[must_use]
    pub fn counted_by(mut self, ledger: &Arc<Ledger>) -> Self {
        debug_assert!(self.entries.is_empty());
        self.ledger = Some(ledger.clone());
        self
    }

    /// The number of the newest entry (or of the last one that was ever held).
    #[must_use]
    pub fn last(&self) -> u64 {
        self.floor + self.entries.len() as u64
    }

    /// Everything up to this number is not held any more.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The highest number that was ever handed to a reader.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The number up to which the current reader was handed everything.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// How many entries the current reader has not been handed yet.
    #[must_use]
    pub fn unread(&self) -> usize {
        (self.last() - self.read) as usize
    }

    /// Entries held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of event bodies held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The watermark of the newest entry.
    #[must_use]
    pub fn newest_watermark(&self) -> UnixMillis {
        self.entries.back().map_or(self.floor_watermark, |entry| entry.watermark)
    }

    /// The watermark of an entry between `floor` and `last`.
    #[must_use]
    pub fn watermark_of(&self, number: u64) -> UnixMillis {
        let held = number.checked_sub(self.floor + 1).and_then(|index| self.entries.get(index as usize));
        held.map_or(self.floor_watermark, |entry| entry.watermark)
    }

    /// Numbers an event and queues it. To make room, the oldest entries that the reader was handed are given up: a cursor
    /// below [`Self::floor`] is then answered from the log.
    pub fn push(&mut self, event: &Arc<Event>, watermark: UnixMillis) -> Pushed {
        let has_room = self.free(1, event.body.len());
        if has_room {
            self.append(event.clone(), watermark);
        }
        // Once for what left and what came: most often they are the same, and nothing is to be counted.
        self.count_places();
        if has_room { Pushed::Queued } else { Pushed::Full }
    }

    /// Gives up what the reader was handed, the oldest first, until these events fit. A group that is larger than the
    /// bounds fits when nothing else waits. Returns whether they fit now.
    pub fn make_room(&mut self, group: &[Arc<Event>]) -> bool {
        let has_room = self.free(group.len(), group.iter().map(|event| event.body.len()).sum());
        self.count_places();
        has_room
    }

    fn free(&mut self, places: usize, bytes: usize) -> bool {
        while self.entries.len() + places > self.limits.events || self.bytes + bytes > self.limits.bytes {
            if self.floor >= self.read {
                return self.entries.is_empty();
            }
            self.pop_front();
        }
        true
    }

    /// The same without a look at the bounds: for the few events that must stay together.
    pub fn push_over_limit(&mut self, event: Arc<Event>, watermark: UnixMillis) {
        self.append(event, watermark);
        self.count_places();
    }

    fn append(&mut self, event: Arc<Event>, watermark: UnixMillis) {
        self.bytes += event.body.len();
        let number = self.last() + 1;
        self.entries.push_back(Entry { number, watermark, event: Some(event) });
    }

    /// Takes everything up to `number` off; calls `delivered` with each event.
    pub fn acknowledge(&mut self, number: u64, mut delivered: impl FnMut(&Event)) {
        while self.floor < number {
            let Some(entry) = self.pop_front() else { break };
            if let Some(event) = &entry.event {
                delivered(event);
            }
        }
        self.count_places();
        self.sent = self.sent.max(self.floor);
        self.read = self.read.max(self.floor);
        if self.entries.is_empty() {
            self.entries.shrink_to(RETAINED_SLOTS);
        }
    }

    /// The entries after `number`, oldest first.
    pub fn after(&self, number: u64) -> impl Iterator<Item = &Entry> {
        let held = number.saturating_sub(self.floor).min(self.entries.len() as u64);
        self.entries.range(held as usize..)
    }

    /// Notes that the current reader was handed everything up to `number`.
    pub fn mark_sent(&mut self, number: u64) {
        debug_assert!(number <= self.last());
        self.sent = self.sent.max(number);
        self.read = number.max(self.floor);
    }

    /// The reader needs nothing up to `number`.
    pub fn skip_to(&mut self, number: u64) {
        self.read = self.read.max(number);
    }

    /// A reader begins after `number`: what follows was perhaps sent already, but not to this one.
    pub fn begin_reading(&mut self, number: u64) {
        debug_assert!(number <= self.sent);
        self.read = number;
    }

    /// Nobody reads any more: whatever was sent counts as handed over, until somebody says otherwise.
    pub fn end_reading(&mut self) {
        self.read = self.sent;
    }

    /// Gives up every entry that no reader has seen, newest first: their numbers are free again.
    pub fn drop_unsent(&mut self, mut dropped: impl FnMut(&Event)) {
        while self.last() > self.sent {
            let Some(entry) = self.entries.pop_back() else { break };
            if let Some(event) = &entry.event {
                self.bytes -= event.body.len();
                dropped(event);
            }
        }
        self.count_places();
        self.entries.shrink_to(RETAINED_SLOTS);
    }

    /// Takes the events of one feed out; their numbers stay.
    pub fn cut(&mut self, feed: &FeedKey) {
        self.cut_but(feed, None);
    }

    /// The same, but for those with these numbers.
    pub fn cut_but(&mut self, feed: &FeedKey, kept: Option<RangeInclusive<u64>>) {
        let is_kept = |number| kept.as_ref().is_some_and(|kept| kept.contains(&number));
        for entry in self.entries.iter_mut().filter(|entry| !is_kept(entry.number)) {
            if let Some(event) = entry.event.take_if(|event| event.feed == *feed) {
                self.bytes -= event.body.len();
            }
        }
    }

    /// Gives up everything that the reader was handed: a cursor below [`Self::floor`] is then answered from the log.
    pub fn give_up_read(&mut self) {
        while self.floor < self.read && self.pop_front().is_some() {}
        self.count_places();
        self.entries.shrink_to(RETAINED_SLOTS);
    }

    fn count_places(&mut self) {
        if let Some(ledger) = &self.ledger {
            ledger.recount(self.counted, self.entries.len());
            self.counted = self.entries.len();
        }
    }

    fn pop_front(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        debug_assert_eq!(entry.number, self.floor + 1, "numbers rise by exactly 1");
        self.floor = entry.number;
        self.floor_watermark = entry.watermark;
        if let Some(event) = &entry.event {
            self.bytes -= event.body.len();
        }
        Some(entry)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            ledger.recount(self.counted, 0);
        }
    }
}
