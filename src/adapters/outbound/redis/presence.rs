//! Who is in a dialog, over all nodes.

use async_trait::async_trait;
use hashbrown::HashMap;

use super::commands::RedisCommands;
use super::script::{Script, ScriptCall};
use crate::application::ports::bus::BusError;
use crate::application::ports::presence::{PRESENCE_TTL, PresenceChange, PresenceEntry, PresenceStore};
use crate::domain::ids::{DialogId, UserId};
use crate::domain::presence::{Presence, PresenceState};
use crate::domain::time::{UnixMillis, whole_millis};

/// Heartbeats of one script call, and calls of one round trip: each must end well within the response timeout.
const HEARTBEATS_PER_CALL_MAX: usize = 500;
const CALLS_PER_ROUND_TRIP_MAX: usize = 500;

/// The presence table in Redis, a hash for each dialog.
pub struct RedisPresence {
    commands: RedisCommands,
    script: Script,
}

impl RedisPresence {
    /// The table that all nodes share.
    #[must_use]
    pub fn new(commands: RedisCommands) -> Self {
        Self { commands, script: Script::new(include_str!("presence.lua")) }
    }

    fn call(&self, dialog: &DialogId, operation: &str, now: UnixMillis) -> ScriptCall<'_> {
        let key = self.commands.keys().presence(dialog);
        self.script.call().key(key).arg(operation).arg(now.0).arg(whole_millis(PRESENCE_TTL))
    }

    async fn change(&self, user: &UserId, call: ScriptCall<'_>) -> Result<PresenceChange, BusError> {
        let changed: Option<(String, u64)> = self.commands.script(&call).await?;
        let Some((state, active)) = changed else { return Ok(None) };
        let state = parse_state(&state).ok_or(BusError::Unavailable)?;
        Ok(Some(Presence { user_id: user.clone(), state, last_active: UnixMillis(active) }))
    }
}

#[async_trait]
impl PresenceStore for RedisPresence {
    async fn enter(
        &self,
        entry: &PresenceEntry,
        state: PresenceState,
        now: UnixMillis,
    ) -> Result<PresenceChange, BusError> {
        let call = self.call(&entry.dialog_id, "enter", now);
        let call = call.arg(entry.user_id.as_str()).arg(entry.session_id.as_str()).arg(state.as_str());
        self.change(&entry.user_id, call).await
    }

    async fn leave(&self, entry: &PresenceEntry, now: UnixMillis) -> Result<PresenceChange, BusError> {
        let call = self.call(&entry.dialog_id, "leave", now);
        let call = call.arg(entry.user_id.as_str()).arg(entry.session_id.as_str());
        self.change(&entry.user_id, call).await
    }

    /// An entry that has expired lives again, unless it was purged meanwhile.
    async fn heartbeat(&self, entries: &[PresenceEntry], now: UnixMillis) -> Result<(), BusError> {
        let mut by_dialog: HashMap<&DialogId, Vec<&PresenceEntry>> = HashMap::new();
        for entry in entries {
            by_dialog.entry(&entry.dialog_id).or_default().push(entry);
        }
        let calls: Vec<ScriptCall<'_>> = by_dialog
            .iter()
            .flat_map(|(dialog, entries)| {
                entries.chunks(HEARTBEATS_PER_CALL_MAX).map(|entries| {
                    let call = self.call(dialog, "heartbeat", now);
                    entries.iter().fold(call, |call, entry| {
                        call.arg(entry.user_id.as_str()).arg(entry.session_id.as_str())
                    })
                })
            })
            .collect();
        for calls in calls.chunks(CALLS_PER_ROUND_TRIP_MAX) {
            self.commands.scripts::<()>(calls).await?;
        }
        Ok(())
    }

    /// Most recently active first.
    async fn list(
        &self,
        dialog: &DialogId,
        now: UnixMillis,
        limit: usize,
    ) -> Result<Vec<Presence>, BusError> {
        let call = self.call(dialog, "list", now).arg(limit);
        let listed: Vec<(String, String, u64)> = self.commands.script(&call).await?;
        listed
            .into_iter()
            .map(|(user, state, active)| {
                Some(Presence {
                    user_id: UserId::parse(&user).ok()?,
                    state: parse_state(&state)?,
                    last_active: UnixMillis(active),
                })
            })
            .collect::<Option<_>>()
            .ok_or(BusError::Unavailable)
    }
}

fn parse_state(name: &str) -> Option<PresenceState> {
    [PresenceState::Online, PresenceState::Away, PresenceState::Offline]
        .into_iter()
        .find(|state| state.as_str() == name)
}
