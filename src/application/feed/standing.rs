//! What a feed knows of where it stands, and of what is to be done.

use std::sync::Arc;

use super::inbox::Inbox;
use super::recent::Recent;
use crate::application::ports::telemetry::labels::RepairReason;
use crate::domain::event::{Event, EventKind, LogPosition};
use crate::domain::time::UnixMillis;

#[derive(Default)]
pub(super) struct State {
    pub(super) inbox: Inbox,
    /// Held by whoever connects the feed; gone once it is connected.
    pub(super) connecting: Option<Arc<tokio::sync::Mutex<()>>>,
    /// The inbox was full, or the link was interrupted, or the audit saw more than we have.
    pub(super) distrust: Option<RepairReason>,
    pub(super) running: bool,
    /// A repair is under way: what is in `recent` is not all there is.
    pub(super) repairing: bool,
    /// The last offset that was pushed; `None` until the head has been read.
    pub(super) position: Option<LogPosition>,
    /// When the entry at the position was appended; 1970 if there is none.
    pub(super) position_at: UnixMillis,
    pub(super) message_seq: MessageSeq,
    pub(super) recent: Recent,
}

/// The `seq` of the newest message up to a feed's position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum MessageSeq {
    /// Nobody has asked yet, and no message has come.
    #[default]
    Unasked,
    /// The log's newest entries don't tell.
    Unknown,
    Known(u64),
}

/// Where a feed stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The last offset that was pushed.
    pub position: LogPosition,
    /// `seq` of the newest message up to there; 0 if that is not known. The Store's own word may be ahead of the log.
    pub message_seq: u64,
}

impl State {
    pub(super) fn note_message(&mut self, event: &Event) {
        if let EventKind::Message { seq, .. } = event.kind {
            self.message_seq = MessageSeq::Known(seq);
        }
    }
}
