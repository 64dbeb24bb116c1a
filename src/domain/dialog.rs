//! Dialogs as one user sees them.

use std::sync::Arc;

use super::ids::DialogId;

/// A member's role: the Store's word, passed on.
pub type Role = Arc<str>;

/// What a user may do in a dialog, and how far the user has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The dialog.
    pub dialog_id: DialogId,
    /// Whether the user belongs to it at all.
    pub member: bool,
    /// Whether the user may read it.
    pub can_read: bool,
    /// Whether the user may write to it.
    pub can_write: bool,
    /// The user's role; empty when the Store has none.
    pub role: Role,
    /// Rises with every change of this membership.
    pub version: u64,
    /// `seq` of the dialog's newest message; 0 when there is none.
    pub last_message_seq: u64,
    /// How far the user has read.
    pub read_seq: u64,
    /// How many members the dialog has.
    pub member_count: u64,
}

impl Membership {
    /// Whether the user may follow the dialog.
    #[must_use]
    pub fn readable(&self) -> bool {
        self.member && self.can_read
    }

    /// Whether the user may speak in the dialog.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.member && self.can_write
    }
}

/// One row of a user's list of dialogs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogSummary {
    /// The dialog.
    pub dialog_id: DialogId,
    /// The user's role in it.
    pub role: Role,
    /// `seq` of its newest message.
    pub last_message_seq: u64,
    /// How far the user has read.
    pub read_seq: u64,
    /// How many messages are unread.
    pub unread: u64,
}
