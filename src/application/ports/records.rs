//! What outlives a session's memory: enough to rebuild it from the logs, on any node.

use async_trait::async_trait;

use super::bus::BusError;
use crate::domain::ids::{SessionId, UserId};
use crate::session::snapshot::SessionSnapshot;

/// What came of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The record is as the snapshot says.
    Written,
    /// The record is as it was: the session has ended, or another node has taken it over, or written it meanwhile.
    Superseded,
}

/// Keeps session records for `session.record_ttl` after the last write.
#[async_trait]
pub trait SessionRecords: Send + Sync {
    /// Writes the record, unless it is of a later generation (`acknowledged.epoch`), or of the same on another node. Nor
    /// may a rebuilt session replace what another node has written since the record was read (`based_on`): it would be
    /// forgotten. What this node has saved as a later revision of the same generation stays, and counts as written.
    async fn save(&self, snapshot: &SessionSnapshot) -> Result<Saved, BusError>;

    /// Reads a record.
    async fn load(&self, session: &SessionId) -> Result<Option<SessionSnapshot>, BusError>;

    /// Ends all sessions of a user that are written down by now, for good.
    async fn forget_user(&self, user: &UserId) -> Result<(), BusError>;

    /// Ends a session for good.
    async fn remove(&self, session: &SessionId, user: &UserId) -> Result<(), BusError>;
}
