//! The one who reads a session: a transport, attached by a client.

use std::sync::Arc;
use std::time::Duration;

use super::cursor::Cursor;
use crate::domain::event::Event;
use crate::domain::time::{Tick, UnixMillis};

/// How a reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One WebSocket.
    WebSocket,
    /// One stream of server-sent events.
    Sse,
    /// A chain of long polls, each an attach of its own.
    Poll,
}

impl Transport {
    /// The transport's name in metrics and lifecycle events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "ws",
            Self::Sse => "sse",
            Self::Poll => "poll",
        }
    }
}

/// Names one attach: a later one has a higher number, and only the latest may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(pub(super) u64);

/// A client's wish to read.
#[derive(Debug, Clone, Copy)]
pub struct AttachRequest {
    /// What the client has: everything up to here.
    pub cursor: Option<Cursor>,
    /// The client's own count of its attaches.
    pub attach: Option<u64>,
    /// The session may have seen this very attach: it went on elsewhere before that was answered.
    pub counted: bool,
    /// How it will read.
    pub transport: Transport,
    /// The token's `exp`.
    pub token_expires_at: UnixMillis,
}

/// How a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resume {
    /// It begins.
    New,
    /// The same queue, exact.
    Resumed,
    /// From the logs, exact by offset.
    Rebuilt,
    /// This is a new session in place of one that is gone.
    Expired,
}

impl Resume {
    /// The outcome's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Resumed => "resumed",
            Self::Rebuilt => "rebuilt",
            Self::Expired => "expired",
        }
    }
}

/// A granted attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// Names the reader from now on.
    pub reader: ReaderId,
    /// Whether the queue was still there.
    pub resume: Resume,
    /// From where it goes on.
    pub cursor: Cursor,
}

/// Why an attach is refused. The session and its live reader are unharmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttachRefused {
    /// A later attach was seen already.
    #[error("a later attach has been seen")]
    Stale,
    /// The cursor is not this session's, or ahead of what was sent.
    #[error("the cursor is not of this session or ahead of it")]
    CursorInvalid,
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
    /// The node is going: the session goes on at another one.
    #[error("the node is going away")]
    SentAway,
}

/// Why a reader must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dismissal {
    /// A newer attach took over; at another node, if the session has ended with this.
    Superseded,
    /// Its token has expired: the session stays.
    TokenExpired,
    /// The node is going away: the session stays.
    Draining {
        /// When to come back.
        reconnect_after: Duration,
    },
    /// It has asked for too much for too long: the session stays.
    RateLimited {
        /// When to come back.
        reconnect_after: Duration,
    },
    /// The user was removed: the session has ended.
    Kicked,
    /// `DELETE`: the session has ended.
    Deleted,
    /// `bye`: the session has ended.
    Bye,
    /// Not read for too long: the session has ended here.
    Expired,
}

/// What a reader is handed.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// A resumable event with its cursor.
    Event {
        /// "Everything up to here."
        cursor: Cursor,
        /// Shared with all other sessions of the node.
        event: Arc<Event>,
    },
    /// An event without a cursor.
    Ephemeral(Arc<Event>),
    /// The token will expire at this time.
    TokenExpiring(UnixMillis),
}

impl Outgoing {
    /// The event that is handed on, if it is one.
    #[must_use]
    pub fn event(&self) -> Option<&Arc<Event>> {
        match self {
            Self::Event { event, .. } | Self::Ephemeral(event) => Some(event),
            Self::TokenExpiring(_) => None,
        }
    }
}

/// How much a reader takes at once.
#[derive(Debug, Clone, Copy)]
pub struct DrainBudget {
    /// Most events.
    pub events: usize,
    /// Most bytes of event bodies; one event always passes.
    pub bytes: usize,
}

/// What a drain left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nothing is left; the cursor is the newest that the reader has.
    Empty,
    /// The budget was used up; there is more.
    More,
    /// The reader must go.
    Dismissed(Dismissal),
}

/// The current reader.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) id: ReaderId,
    pub(super) transport: Transport,
    /// The last number that it has.
    pub(super) at: u64,
    pub(super) dismissal: Option<Dismissal>,
}

/// Whether anybody reads.
#[derive(Debug)]
pub(super) enum Attachment {
    Attached(Reader),
    /// Nobody, since then. A poll client is here between two polls.
    Detached {
        since: Tick,
        last: Option<Transport>,
    },
}
