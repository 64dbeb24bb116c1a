//! Which nodes there are, and which of them holds a session.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::commands::RedisCommands;
use crate::application::ports::bus::BusError;
use crate::application::ports::nodes::{NodeDirectory, Owner};
use crate::application::vital::VitalTasks;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::whole_millis;

/// How long a node that is not heard of counts as living.
pub const NODE_TTL: Duration = Duration::from_secs(15);
/// How often a node says that it lives.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(5);
/// The same, after it could not.
const ANNOUNCE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What this node tells the others.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name, no other node's.
    pub node: String,
    /// Where the others reach it: `scheme://host:port`.
    pub address: String,
}

/// The directory of nodes in Redis: a key that expires for each.
pub struct RedisNodes {
    config: Config,
    commands: RedisCommands,
}

impl RedisNodes {
    /// The directory that all nodes share. This node is not in it until [`Self::announce`].
    #[must_use]
    pub fn new(config: Config, commands: RedisCommands) -> Self {
        Self { config, commands }
    }

    /// Says that this node lives, again and again, in a task that ends with the node's farewell.
    pub fn announce(&self, tasks: &VitalTasks, until: CancellationToken) {
        let (commands, Config { node, address }) = (self.commands.clone(), self.config.clone());
        tasks.spawn("the announcement of the node", until.clone(), async move {
            let key = commands.keys().node(&node);
            let mut here = redis::cmd("SET");
            here.arg(&key).arg(address).arg("PX").arg(whole_millis(NODE_TTL));
            while !until.is_cancelled() {
                let told = commands.query::<()>(&here).await.is_ok();
                let wait = if told { ANNOUNCE_EVERY } else { ANNOUNCE_AGAIN_AFTER };
                // Ends early when it is time to go.
                let _ = tokio::time::timeout(wait, until.cancelled()).await;
            }
            // Else it expires.
            let _ = commands.query::<()>(redis::cmd("DEL").arg(&key)).await;
        });
    }
}

#[async_trait]
impl NodeDirectory for RedisNodes {
    async fn address(&self, node: &str) -> Result<Option<String>, BusError> {
        self.commands.query(redis::cmd("GET").arg(self.commands.keys().node(node))).await
    }

    async fn owner(&self, session: &SessionId) -> Result<Option<Owner>, BusError> {
        let key = self.commands.keys().session(session);
        let held: (Option<String>, Option<String>, Option<u32>) =
            self.commands.query(redis::cmd("HMGET").arg(key).arg(&["node", "user", "epoch"])).await?;
        let (Some(node), Some(user), Some(generation)) = held else { return Ok(None) };
        let Ok(user_id) = UserId::parse(&user) else { return Ok(None) };
        let address = self.address(&node).await?;
        Ok(Some(Owner { node, user_id, generation, address }))
    }
}
