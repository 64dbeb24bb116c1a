//! The stream of who attached, detached and ended.

use async_trait::async_trait;

use super::commands::RedisCommands;
use super::script::Script;
use crate::application::ports::bus::BusError;
use crate::application::ports::lifecycle::{LifecycleEvent, LifecycleLog};

/// About how many entries the stream keeps.
pub const LIFECYCLE_ENTRIES_MAX: usize = 100_000;
/// How many of the newest entries are searched for one that may have been written before.
const WRITTEN_WINDOW: usize = 2048;

/// Appends lifecycle events to a stream.
pub struct RedisLifecycle {
    commands: RedisCommands,
    append: Script,
}

impl RedisLifecycle {
    /// The stream that all nodes share.
    #[must_use]
    pub fn new(commands: RedisCommands) -> Self {
        Self { commands, append: Script::new(include_str!("lifecycle_append.lua")) }
    }
}

#[async_trait]
impl LifecycleLog for RedisLifecycle {
    /// What is not known has no field. `at` is RFC 3339 in UTC.
    async fn append(&self, events: &[LifecycleEvent], again: bool) -> Result<(), BusError> {
        if events.is_empty() {
            return Ok(());
        }
        let window = if again { WRITTEN_WINDOW } else { 0 };
        let mut call = self.append.call().key(self.commands.keys().lifecycle());
        call = call.arg(LIFECYCLE_ENTRIES_MAX).arg(window);
        for event in events {
            let fields = fields(event);
            call = call.arg(fields.len() * 2);
            for (name, value) in fields {
                call = call.arg(name).arg(value);
            }
        }
        self.commands.script(&call).await
    }
}

fn fields(event: &LifecycleEvent) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("event", event.turn.as_str().to_owned()),
        ("user_id", event.user_id.to_string()),
        ("session", event.session_id.to_string()),
    ];
    if let Some(device) = &event.device_id {
        fields.push(("device_id", device.to_string()));
    }
    if let Some(transport) = event.transport {
        fields.push(("transport", transport.as_str().to_owned()));
    }
    fields.push(("node", event.node.clone()));
    fields.push(("others", event.others.to_string()));
    fields.push(("at", event.at.to_string()));
    fields
}
