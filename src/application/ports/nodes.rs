//! Which nodes there are, and which of them holds a session.

use async_trait::async_trait;

use super::bus::BusError;
use crate::domain::ids::{SessionId, UserId};

/// Who holds a session, as far as is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The node's name.
    pub node: String,
    /// Whose session it is.
    pub user_id: UserId,
    /// The session's generation there: a later one has taken the session over.
    pub generation: u32,
    /// Where the node is reached (`scheme://host:port`); `None` when it has not been heard of for a while.
    pub address: Option<String>,
}

/// What nodes know of each other.
#[async_trait]
pub trait NodeDirectory: Send + Sync {
    /// Where a living node is reached: `scheme://host:port`.
    async fn address(&self, node: &str) -> Result<Option<String>, BusError>;

    /// Who holds a session that has a record: whoever wrote that last. [`SessionRecords::save`] is what decides
    /// between two nodes.
    ///
    /// [`SessionRecords::save`]: super::records::SessionRecords::save
    async fn owner(&self, session: &SessionId) -> Result<Option<Owner>, BusError>;
}
