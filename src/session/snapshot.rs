//! What of a session is written down, so that another node (or a later day) can rebuild it from the logs.

use super::cursor::Cursor;
use super::delivered::Teller;
use super::subscriptions::{Confirmed, InStep};
use crate::domain::event::LogPosition;
use crate::domain::ids::{DeviceId, FeedKey, SessionId, UserId};

/// What a subscription asks for beside the dialog's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// See others' presence and be seen.
    pub presence: bool,
    /// See who is typing.
    pub typing: bool,
}

/// A subscription as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSnapshot {
    /// The dialog's feed, or the user's own.
    pub feed: FeedKey,
    /// What the client has surely received: the position at the acknowledged cursor.
    pub delivered: LogPosition,
    /// Nothing of that log beyond this offset was numbered by [`SessionSnapshot::newest`]; `None` if nobody knows.
    pub numbered: Option<u64>,
    /// `seq` of the last message known to be delivered; 0 when none is known.
    pub last_message_seq: u64,
    /// What it asks for.
    pub options: SubscribeOptions,
    /// Since when it is in step; `None` while it was never.
    pub in_step: Option<InStep>,
    /// When the membership was last confirmed.
    pub confirmed: Confirmed,
}

/// An event that was handed out and not acknowledged yet: lets a rebuild know exactly what a newer cursor covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentSnapshot {
    /// Its number in the session.
    pub number: u64,
    /// Whose log it came from.
    pub feed: FeedKey,
    /// Where its receiver stands there, and whether an entry or a gap says so; `None` for what moves nobody.
    pub position: Option<(LogPosition, Teller)>,
    /// The message's place in the dialog, if it is one.
    pub message_seq: Option<u64>,
}

/// A session as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// The session.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// On which device.
    pub device_id: Option<DeviceId>,
    /// The generation the session began with: cursors of a lower one are not this session's.
    pub first_epoch: u32,
    /// The newest acknowledged cursor; its epoch is the session's current generation.
    pub acknowledged: Cursor,
    /// The newest number: of a later cursor the record knows nothing.
    pub newest: u64,
    /// Generation and number that the delivered positions belong to: a cursor below lacks some of it. Of an older
    /// generation than [`Self::acknowledged`] if nothing has been acknowledged since the session was rebuilt.
    pub delivered_as_of: (u32, u64),
    /// The highest `attach` the session has seen.
    pub highest_attach: Option<u64>,
    /// `Some` when the session follows every dialog of its user.
    pub follow_all: Option<SubscribeOptions>,
    /// The subscriptions, the user's own feed among them.
    pub subscriptions: Vec<SubscriptionSnapshot>,
    /// Whether the delivered positions are exactly those of the acknowledged cursor: else the client may have more.
    pub delivered_exactly: bool,
    /// Rises with every snapshot that is to be saved: of two saves on their way at once the later one counts.
    pub revision: u32,
    /// Generation and revision of the record that the session was rebuilt from; `None` if it has begun here.
    pub based_on: Option<(u32, u32)>,
    /// What was handed out after the acknowledged cursor, oldest first; at most what a queue holds.
    pub sent: Vec<SentSnapshot>,
}
