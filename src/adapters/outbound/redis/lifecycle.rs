//! The stream of who attached, detached and ended.

use async_trait::async_trait;

use super::commands::RedisCommands;
use crate::application::ports::bus::BusError;
use crate::application::ports::lifecycle::{LifecycleEvent, LifecycleLog};

/// About how many entries the stream keeps.
pub const LIFECYCLE_ENTRIES_MAX: usize = 100_000;

/// Appends lifecycle events to a stream.
pub struct RedisLifecycle {
    commands: RedisCommands,
}

impl RedisLifecycle {
    /// The stream that all nodes share.
    #[must_use]
    pub fn new(commands: RedisCommands) -> Self {
        Self { commands }
    }
}

#[async_trait]
impl LifecycleLog for RedisLifecycle {
    /// What is not known has no field. `at` is RFC 3339 in UTC.
    async fn append(&self, event: &LifecycleEvent) -> Result<(), BusError> {
        let mut add = redis::cmd("XADD");
        add.arg(self.commands.keys().lifecycle()).arg("MAXLEN").arg("~").arg(LIFECYCLE_ENTRIES_MAX).arg("*");
        add.arg(("event", event.turn.as_str()));
        add.arg(("user_id", event.user_id.as_str())).arg(("session", event.session_id.as_str()));
        if let Some(device) = &event.device_id {
            add.arg(("device_id", device.as_str()));
        }
        if let Some(transport) = event.transport {
            add.arg(("transport", transport.as_str()));
        }
        add.arg(("node", &event.node)).arg(("others", event.others)).arg(("at", event.at.to_string()));
        self.commands.query(&add).await
    }
}
