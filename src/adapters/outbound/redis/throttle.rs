//! At most one "typing" in a while, over all nodes.

use std::time::Duration;

use async_trait::async_trait;

use super::commands::RedisCommands;
use crate::application::ports::throttle::TypingThrottle;
use crate::domain::ids::{DialogId, UserId};
use crate::domain::time::whole_millis;

/// How often a user may begin to type.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// One `typing started` passes in this time.
    pub interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { interval: Duration::from_secs(3) }
    }
}

/// Throttles typing by a key that expires.
pub struct RedisTypingThrottle {
    config: Config,
    commands: RedisCommands,
}

impl RedisTypingThrottle {
    /// The throttle that all nodes share.
    #[must_use]
    pub fn new(config: Config, commands: RedisCommands) -> Self {
        Self { config, commands }
    }
}

#[async_trait]
impl TypingThrottle for RedisTypingThrottle {
    async fn pass(&self, user: &UserId, dialog: &DialogId) -> bool {
        let mut set = redis::cmd("SET");
        set.arg(self.commands.keys().typing(user, dialog)).arg(1);
        set.arg("NX").arg("PX").arg(whole_millis(self.config.interval));
        let set: Result<Option<String>, _> = self.commands.query(&set).await;
        matches!(set, Ok(Some(_)))
    }

    async fn reset(&self, user: &UserId, dialog: &DialogId) {
        let key = self.commands.keys().typing(user, dialog);
        // Else it expires.
        let _ = self.commands.query::<()>(redis::cmd("DEL").arg(key)).await;
    }
}
