//! Events as bytes: what lies in a log, what goes to a client.

use std::time::Duration;

use bytes::Bytes;

use super::bus::LogEntry;
use crate::domain::event::{Event, LogEpoch, NodeWord};
use crate::domain::ids::{DialogId, FeedKey, UserId};
use crate::domain::message::Message;
use crate::domain::presence::{Presence, TypingState};
use crate::session::replay::Gap;

/// Why a payload from the bus is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Undecodable {
    /// It is not a JSON object.
    #[error("not a JSON object")]
    NotJson,
    /// It is an object, but not an event of this feed.
    #[error("not an event of this feed")]
    WrongShape,
    /// It is larger than an event may be.
    #[error("too large")]
    TooLarge,
    /// What stands in front of the event on a live channel is not what should.
    #[error("not behind a header line")]
    WrongHeader,
}

impl Undecodable {
    /// The kind's name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::WrongShape => "wrong_shape",
            Self::TooLarge => "too_large",
            Self::WrongHeader => "wrong_header",
        }
    }
}

/// Decodes once per node, encodes once per node.
pub trait EventCodec: Send + Sync {
    /// An entry of a log as an event.
    ///
    /// # Errors
    /// [`Undecodable`] says why the entry is skipped.
    fn decode_logged(&self, feed: &FeedKey, entry: &LogEntry) -> Result<Event, Undecodable>;

    /// An ephemeral payload as an event.
    ///
    /// # Errors
    /// [`Undecodable`] says why the payload is skipped.
    fn decode_ephemeral(&self, feed: &FeedKey, json: &Bytes) -> Result<Event, Undecodable>;

    /// A `typing` event, for the bus.
    fn typing(&self, dialog: &DialogId, user: &UserId, state: TypingState, expires_in: Duration) -> Bytes;

    /// A `presence` event, for the bus.
    fn presence(&self, dialog: &DialogId, presence: &Presence) -> Bytes;

    /// A `kick`, for the user's own feed.
    fn kick(&self, user: &UserId, reason: &str) -> Bytes;

    /// A word among nodes, for the feed of the user whose session it is about.
    fn node_word(&self, user: &UserId, word: &NodeWord) -> Bytes;

    /// The body of a `gap` event, for one session.
    fn gap(&self, feed: &FeedKey, epoch: &LogEpoch, gap: &Gap, messages_restored: bool) -> Bytes;

    /// The body of a `message_new` with `restored:true`, for one session.
    fn restored(&self, message: &Message) -> Bytes;
}
