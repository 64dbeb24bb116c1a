//! Which sessions each user has, over all nodes: how many, and which of them are being read.

use std::time::Duration;

use async_trait::async_trait;

use super::bus::BusError;
use super::lifecycle::SessionTurn;
use crate::domain::ids::{DeviceId, SessionId, UserId};
use crate::domain::time::UnixMillis;
use crate::session::reader::Transport;

/// How often a node says that it keeps its sessions.
pub const ROSTER_BEAT_EVERY: Duration = Duration::from_secs(5);
/// A node that has not said so for this long is dead: its sessions have ended.
pub const ROSTER_NODE_TTL: Duration = Duration::from_secs(15);
/// Most sessions of dead nodes that one call of [`SessionRoster::reap`] takes out.
pub const REAP_SESSIONS_MAX: usize = 256;

/// What came of a new session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// It counts from now on; or it did already.
    Yes,
    /// The user has as many as allowed.
    Full {
        /// The nodes that hold them, each once.
        nodes: Vec<String>,
    },
}

/// What happened to a session of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// See there.
    Turn(SessionTurn),
    /// Another node has it now: nothing has happened to it.
    Left,
}

/// A step of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterStep {
    /// What.
    pub step: Step,
    /// Whose session.
    pub user_id: UserId,
    /// Which session.
    pub session_id: SessionId,
    /// Its generation here: a step of an earlier one than that which is known changes nothing.
    pub generation: u32,
    /// On which device.
    pub device_id: Option<DeviceId>,
    /// How it is, or was, read.
    pub transport: Option<Transport>,
    /// Names the step: told again, it has the same answer.
    pub token: u64,
    /// When.
    pub at: UnixMillis,
}

/// A session of a dead node, taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaped {
    /// Whose session.
    pub user_id: UserId,
    /// Which session.
    pub session_id: SessionId,
    /// On which device.
    pub device_id: Option<DeviceId>,
    /// How it was read last.
    pub transport: Option<Transport>,
    /// The node that held it.
    pub node: String,
    /// The user's other attached sessions.
    pub others: usize,
}

/// The roster. What is a change is decided atomically, so that it is told by exactly one node.
#[async_trait]
pub trait SessionRoster: Send + Sync {
    /// Enters a session of this node, unless its user has `limit` others that are attached or may still be resumed.
    async fn enter(
        &self,
        user: &UserId,
        session: &SessionId,
        generation: u32,
        limit: usize,
    ) -> Result<Entered, BusError>;

    /// Notes steps of sessions of this node, in this order. For each the number of the user's other attached sessions,
    /// if it has changed something.
    async fn note(&self, steps: &[RosterStep]) -> Result<Vec<Option<usize>>, BusError>;

    /// Says that this node keeps its sessions; at least every [`ROSTER_BEAT_EVERY`].
    async fn beat(&self) -> Result<(), BusError>;

    /// This node is going: what it has by `after` from now is reaped then.
    async fn farewell(&self, after: Duration) -> Result<(), BusError>;

    /// Takes sessions of dead nodes out, [`REAP_SESSIONS_MAX`] at most; each is given to exactly one caller.
    async fn reap(&self) -> Result<Vec<Reaped>, BusError>;

    /// The same at once for one user's sessions of one node that is known to be dead.
    async fn reap_user(&self, user: &UserId, node: &str) -> Result<Vec<Reaped>, BusError>;
}
