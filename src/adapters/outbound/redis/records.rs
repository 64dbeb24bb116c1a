//! Session records that any node can rebuild a session from.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;

use super::commands::RedisCommands;
use super::record_fields;
use super::script::Script;
use crate::application::ports::bus::BusError;
use crate::application::ports::records::{Saved, SessionRecords};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::whole_millis;
use crate::session::snapshot::SessionSnapshot;

/// How long it is remembered that a session has ended, so that no node writes its record again.
pub const ENDED_TTL: Duration = Duration::from_secs(3600);

/// Unix milliseconds of the server at the last save; written by the script.
const SAVED_AT: &str = "saved_at";

/// How long records live, and who writes them.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a record is kept after it was last saved.
    pub ttl: Duration,
    /// This node's name: of two nodes with the same generation of a session, the first one keeps it.
    pub node: String,
}

/// Keeps session records in Redis, a hash for each.
pub struct RedisSessionRecords {
    config: Config,
    commands: RedisCommands,
    save: Script,
    remove: Script,
    forget_user: Script,
}

impl RedisSessionRecords {
    /// The records that all nodes share.
    #[must_use]
    pub fn new(config: Config, commands: RedisCommands) -> Self {
        Self {
            config,
            commands,
            save: Script::new(include_str!("session_save.lua")),
            remove: Script::new(include_str!("session_remove.lua")),
            forget_user: Script::new(include_str!("session_forget_user.lua")),
        }
    }
}

impl RedisSessionRecords {
    /// Whether all sessions of the user were ended after this record was saved.
    async fn is_forgotten(&self, user: &UserId, fields: &HashMap<String, String>) -> Result<bool, BusError> {
        let key = self.commands.keys().forgotten(user);
        let forgotten_at: Option<u64> = self.commands.query(redis::cmd("GET").arg(key)).await?;
        let saved_at: Option<u64> = fields.get(SAVED_AT).and_then(|millis| millis.parse().ok());
        Ok(forgotten_at.is_some_and(|forgotten_at| saved_at.is_none_or(|saved_at| saved_at <= forgotten_at)))
    }
}

#[async_trait]
impl SessionRecords for RedisSessionRecords {
    async fn save(&self, snapshot: &SessionSnapshot) -> Result<Saved, BusError> {
        let fields = record_fields::written(snapshot).map_err(|_| BusError::Unavailable)?;
        let based_on = snapshot.based_on.map(|(epoch, revision)| format!("{epoch}.{revision}"));
        let based_on = based_on.unwrap_or_default();
        let mut call = self
            .save
            .call()
            .key(self.commands.keys().session(&snapshot.id))
            .arg(snapshot.acknowledged.epoch)
            .arg(&self.config.node)
            .arg(whole_millis(self.config.ttl))
            .arg(snapshot.revision)
            .arg(based_on);
        for (field, value) in fields {
            call = call.arg(field).arg(value);
        }
        let written: bool = self.commands.script(&call).await?;
        Ok(if written { Saved::Written } else { Saved::Superseded })
    }

    async fn load(&self, session: &SessionId) -> Result<Option<SessionSnapshot>, BusError> {
        let key = self.commands.keys().session(session);
        let fields: HashMap<String, String> = self.commands.query(redis::cmd("HGETALL").arg(key)).await?;
        let record = record_fields::read(session, &fields);
        if record.is_none() && !fields.is_empty() && !fields.contains_key("ended") {
            tracing::warn!("a session record is not readable: the session is lost");
        }
        match record {
            Some(record) if self.is_forgotten(&record.user_id, &fields).await? => Ok(None),
            record => Ok(record),
        }
    }

    async fn forget_user(&self, user: &UserId) -> Result<(), BusError> {
        // As long as there may be a record from before.
        let call = self.forget_user.call().key(self.commands.keys().forgotten(user));
        self.commands.script(&call.arg(whole_millis(self.config.ttl))).await
    }

    async fn remove(&self, session: &SessionId, user: &UserId) -> Result<(), BusError> {
        let key = self.commands.keys().session(session);
        let call = self.remove.call().key(key).arg(user.as_str()).arg(whole_millis(ENDED_TTL));
        self.commands.script(&call).await
    }
}
