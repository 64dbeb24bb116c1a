//! Events: what happened in a feed, decoded once and encoded once, then shared by every session of the node.

use std::sync::Arc;

use bytes::Bytes;

use super::ids::{DialogId, FeedKey, SessionId, UserId};
use super::presence::{PresenceState, TypingState};
use super::time::UnixMillis;

/// A log's generation: offsets of different epochs can't be compared.
pub type LogEpoch = Arc<str>;

/// A place in a log: everything up to and including `offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPosition {
    /// The log's generation.
    pub epoch: LogEpoch,
    /// The last offset that is known; 0 before the first.
    pub offset: u64,
}

/// Where and when an event stands in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The log's generation.
    pub epoch: LogEpoch,
    /// Contiguous within the epoch, from 1.
    pub offset: u64,
    /// The bus's time of the entry.
    pub at: UnixMillis,
}

/// Joined or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipChange {
    /// The user is a member now (or has another role).
    Added,
    /// The user is not a member any more.
    Removed,
}

/// What one node tells the others about a user's session, on the user's feed. No client ever sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeWord {
    /// The node that holds the session is asked to write it down and let it go.
    Wanted {
        /// Which.
        session: SessionId,
        /// The node that is asked.
        holder: String,
    },
    /// The session is written down as it was last, and may be taken.
    Released {
        /// Which.
        session: SessionId,
    },
    /// The session is held in this generation now: whoever has an earlier one has an old copy.
    Moved {
        /// Which.
        session: SessionId,
        /// The generation of its queue.
        generation: u32,
    },
}

/// What happened: as much as the gateway must know. The rest is in the encoded body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A message was committed.
    Message {
        /// Who sent it.
        sender: UserId,
        /// Its place in the dialog.
        seq: u64,
        /// When the Store committed it, by the Store's own clock, if that can be told.
        created_at: Option<UnixMillis>,
    },
    /// A user read up to a message.
    Receipt {
        /// Who read.
        user: UserId,
    },
    /// A user joined or left a dialog.
    Membership {
        /// The dialog it is about: the feed may be the user's own.
        dialog: DialogId,
        /// Who.
        user: UserId,
        /// Joined or left.
        change: MembershipChange,
    },
    /// An application's own event, passed through.
    Application,
    /// Told to one session: what its log can't give back.
    Gap {
        /// Where the session stood before.
        before: LogPosition,
        /// From where it goes on; `None` if messages follow that make up for it: the last of them says so.
        after: Option<LogPosition>,
    },
    /// A message of a gap, given back from the Store's history.
    Restored {
        /// From where it goes on, said by the last message of the gap.
        after: Option<LogPosition>,
        /// The message's place in the dialog.
        seq: u64,
    },
    /// The user must go: ends all sessions of the user.
    Kick,
    /// Among nodes.
    Node(NodeWord),
    /// A user is writing, or has stopped.
    Typing {
        /// Who.
        user: UserId,
        /// Began or stopped.
        state: TypingState,
    },
    /// A user came, went, or fell idle.
    Presence {
        /// Who.
        user: UserId,
        /// As the others see it.
        state: PresenceState,
    },
}

/// An event as the node holds it: shared by reference among all sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whose log or channel it came from.
    pub feed: FeedKey,
    /// Where it stands in the log; `None` for what no log holds (ephemerals, `gap`, restored messages).
    pub logged: Option<Logged>,
    /// What happened.
    pub kind: EventKind,
    /// The event as the client sees it, a JSON object without its opening brace: a session's cursor goes in front.
    pub body: Bytes,
}

impl Event {
    /// Whether the event may be dropped and is never replayed.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        matches!(
            self.kind,
            EventKind::Kick | EventKind::Node(_) | EventKind::Typing { .. } | EventKind::Presence { .. }
        )
    }
}
