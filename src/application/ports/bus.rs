//! The event bus: a log and a live channel for every feed.
//!
//! The ordering promise: within one feed, [`LiveSink::live`] is called in the order of the log. It may miss entries
//! (a live channel is lossy) and repeat them; it never invents one. The log is the truth: whoever sees a hole in the
//! offsets reads it. The time of the bus ([`EventBus::time`]) is the clock that stamps the log's entries.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::codec::Undecodable;
use crate::domain::event::{LogEpoch, LogPosition};
use crate::domain::ids::FeedKey;
use crate::domain::time::UnixMillis;

/// Largest event, in bytes of JSON: larger ones are refused by the append script and skipped by gateways.
pub const EVENT_MAX_BYTES: usize = 256 * 1024;
/// How many of a log's newest entries are searched for a repeated event key.
pub const EVENT_KEY_WINDOW: usize = 64;

/// The bus doesn't answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The link is down, or the answer came too late.
    #[error("the bus is unavailable")]
    Unavailable,
    /// The event is larger than [`EVENT_MAX_BYTES`].
    #[error("the event is too large")]
    TooLarge,
}

/// A log entry, as it lies in the log: nobody has looked into its JSON yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The log's generation.
    pub epoch: LogEpoch,
    /// Contiguous within the epoch, from 1.
    pub offset: u64,
    /// The bus's time of the entry.
    pub at: UnixMillis,
    /// The event as JSON, without `cursor` and `offset`.
    pub json: Bytes,
}

/// What comes over a feed's live channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LivePayload {
    /// An entry that is in the log, too.
    Logged(LogEntry),
    /// An event that no log holds, as JSON.
    Ephemeral(Bytes),
    /// Something that nobody can read: to be counted and skipped.
    Garbage(Undecodable),
    /// The link was interrupted: what came in between is only in the log.
    Interrupted,
}

/// Takes what a live channel brings. Called inline by the link: it must not block.
pub trait LiveSink: Send + Sync {
    /// The next payload of the feed's channel.
    fn live(&self, payload: LivePayload);
}

/// From where a log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// Entries with an offset above this one.
    AfterOffset(u64),
    /// Entries at or after this bus time.
    Since(UnixMillis),
    /// The newest entries, this many at most.
    Newest,
}

/// A piece of a log, in order, and where the log stood when it was read (one atomic read).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSlice {
    /// The log's last offset (0: nothing was ever appended) and its generation.
    pub head: LogPosition,
    /// The oldest offset that the log still has; `head.offset + 1` when it has none.
    pub first_offset: u64,
    /// What was asked for, oldest first, at most as many as asked.
    pub entries: Vec<LogEntry>,
}

/// Where an appended event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Generation and offset of the entry.
    pub position: LogPosition,
    /// The bus's time of the entry.
    pub at: UnixMillis,
    /// Whether the event key was there already: nothing was appended.
    pub repeated: bool,
}

/// A live subscription: ends when it is dropped.
pub trait LiveSubscription: Send + Sync {}

/// The bus as gateways use it.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Starts live delivery of a feed into `sink`. Returns once it is confirmed: what is appended from now on is
    /// either delivered or announced by [`LivePayload::Interrupted`].
    async fn subscribe(
        &self,
        feed: &FeedKey,
        sink: Arc<dyn LiveSink>,
    ) -> Result<Box<dyn LiveSubscription>, BusError>;

    /// Reads at most `limit` entries of a log.
    async fn read(&self, feed: &FeedKey, from: ReadFrom, limit: usize) -> Result<LogSlice, BusError>;

    /// Where the logs of many feeds stand, in the order asked: the audit's question, in one round trip.
    async fn heads(&self, feeds: &[FeedKey]) -> Result<Vec<LogPosition>, BusError>;

    /// Sends an ephemeral event to whoever listens right now.
    async fn publish_ephemeral(&self, feed: &FeedKey, json: Bytes) -> Result<(), BusError>;

    /// The time of the bus, now.
    fn time(&self) -> UnixMillis;

    /// Up to when everything that was published has surely arrived at this node, on every link.
    fn settled(&self) -> UnixMillis;

    /// Whether the bus answers, as far as is known. While it does not, nobody begins to follow anything: what is in
    /// memory here may be old.
    fn is_up(&self) -> bool {
        true
    }
}

/// The bus as a Store uses it: append to the log and publish, in one step.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Appends an event (JSON without `cursor` and `offset`) under a key that is unique in the feed. A key among the
    /// newest [`EVENT_KEY_WINDOW`] entries is not appended again.
    async fn append(&self, feed: &FeedKey, event_key: &str, json: Bytes) -> Result<Appended, BusError>;
}
