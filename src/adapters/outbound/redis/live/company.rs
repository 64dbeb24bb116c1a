//! What all live links of a node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::channels::{Channels, Life};
use super::times::Times;
use crate::adapters::outbound::redis::commands::RedisCommands;
use crate::adapters::outbound::redis::servers::Servers;

/// How live links are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// Longest TCP (and TLS) connect and greeting.
    pub(crate) connect_timeout: Duration,
    /// How often a probe is sent.
    pub(crate) probe_every: Duration,
    /// A link over which neither a probe nor a confirmation has come for so long is given up.
    pub(crate) silence_max: Duration,
    /// Longest wait for the confirmation of a subscription.
    pub(crate) subscribe_timeout: Duration,
}

/// What all live links of a node share.
pub(super) struct Company {
    pub(super) servers: Servers,
    /// The other link to the same servers: when one of the two gets through, the other need not wait.
    pub(super) commands: RedisCommands,
    pub(super) config: Config,
    pub(super) channels: Arc<Channels>,
    pub(super) times: Times,
    /// What the names of this node's probe channels begin with, and no others.
    pub(super) probe_prefix: String,
    /// Whose slot is whose may have changed.
    pub(super) doubts: Notify,
    pub(super) lives: AtomicU64,
}

impl Company {
    /// A connection that no link ever had.
    pub(super) fn new_life(&self) -> Life {
        Life(self.lives.fetch_add(1, Ordering::Relaxed))
    }
}
