//! Tells whoever must know which users can be reached: push senders, analytics.

use async_trait::async_trait;

use super::bus::BusError;
use crate::domain::ids::{DeviceId, SessionId, UserId};
use crate::domain::time::UnixMillis;
use crate::session::reader::Transport;

/// What happened to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionTurn {
    /// Somebody reads it now, and nobody did before.
    Attached,
    /// Nobody reads it any more.
    Detached,
    /// It is over.
    Ended,
}

impl SessionTurn {
    /// Its name in the stream.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Detached => "detached",
            Self::Ended => "ended",
        }
    }
}

/// One entry of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleEvent {
    /// What happened.
    pub turn: SessionTurn,
    /// Whose session.
    pub user_id: UserId,
    /// Which session.
    pub session_id: SessionId,
    /// On which device.
    pub device_id: Option<DeviceId>,
    /// How it is, or was, read; `None` when nobody knows.
    pub transport: Option<Transport>,
    /// Which node holds, or held, it: not always the one that tells.
    pub node: String,
    /// The user's other attached sessions, on all nodes.
    pub others: usize,
    /// When.
    pub at: UnixMillis,
}

/// Where lifecycle events go.
#[async_trait]
pub trait LifecycleLog: Send + Sync {
    /// Appends events, in this order. `again`: some of them may have been appended by an earlier call; those are not
    /// appended twice.
    async fn append(&self, events: &[LifecycleEvent], again: bool) -> Result<(), BusError>;
}
