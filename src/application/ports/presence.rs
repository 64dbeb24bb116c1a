//! Who is in a dialog, over all nodes.

use std::time::Duration;

use async_trait::async_trait;

use super::bus::BusError;
use crate::domain::ids::{DialogId, SessionId, UserId};
use crate::domain::presence::{Presence, PresenceState};
use crate::domain::time::UnixMillis;

/// How long an entry lives without a heartbeat.
pub const PRESENCE_TTL: Duration = Duration::from_secs(45);

/// One session's presence in a dialog.
#[derive(Debug, Clone)]
pub struct PresenceEntry {
    /// The dialog.
    pub dialog_id: DialogId,
    /// Whose session.
    pub user_id: UserId,
    /// Which session: a user is there while any is.
    pub session_id: SessionId,
}

/// The user's state in the dialog as the others see it, when a call has changed it.
pub type PresenceChange = Option<Presence>;

/// The presence table. First in and last out are decided atomically.
#[async_trait]
pub trait PresenceStore: Send + Sync {
    /// Enters a session, or sets its state (`Online` or `Away`), at `now`; lives [`PRESENCE_TTL`].
    async fn enter(
        &self,
        entry: &PresenceEntry,
        state: PresenceState,
        now: UnixMillis,
    ) -> Result<PresenceChange, BusError>;

    /// Takes a session out.
    async fn leave(&self, entry: &PresenceEntry, now: UnixMillis) -> Result<PresenceChange, BusError>;

    /// Keeps entries alive, all of a node's at once.
    async fn heartbeat(&self, entries: &[PresenceEntry], now: UnixMillis) -> Result<(), BusError>;

    /// Who is there, at most `limit` users.
    async fn list(&self, dialog: &DialogId, now: UnixMillis, limit: usize)
    -> Result<Vec<Presence>, BusError>;
}
