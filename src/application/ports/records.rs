//! What outlives a session's memory: enough to rebuild it from the logs, on any node.

use async_trait::async_trait;

use super::bus::BusError;
use crate::domain::ids::{SessionId, UserId};
use crate::session::snapshot::SessionSnapshot;

/// Keeps session records for `session.record_ttl` after the last write.
#[async_trait]
pub trait SessionRecords: Send + Sync {
    /// Writes the record.
    async fn save(&self, snapshot: &SessionSnapshot) -> Result<(), BusError>;

    /// Reads a record.
    async fn load(&self, session: &SessionId) -> Result<Option<SessionSnapshot>, BusError>;

    /// Ends a session for good.
    async fn remove(&self, session: &SessionId, user: &UserId) -> Result<(), BusError>;
}
