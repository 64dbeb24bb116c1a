//! Kicks: all sessions of a user end, wherever they are.

use super::presence::bus_refusal;
use crate::application::gateway::Gateway;
use crate::domain::error::Refusal;
use crate::domain::ids::{FeedKey, UserId};

impl Gateway {
    /// Ends all sessions of a user, on every node, also those that nobody reads and those that are only written down.
    /// Whoever reads one is told `kicked`. The user may come back with a token that is still good: that is the
    /// issuer's to decide.
    ///
    /// # Errors
    /// `unavailable` when the bus does not answer: then it is not known who was reached, and it may be tried again.
    pub async fn kick_user(&self, user: &UserId, reason: &str) -> Result<(), Refusal> {
        // The records first: a session that is rebuilt after this hears the kick itself.
        self.ports.records.forget_user(user).await.map_err(bus_refusal)?;
        let event = self.ports.codec.kick(user, reason);
        let feed = FeedKey::User(user.clone());
        self.ports.bus.publish_ephemeral(&feed, event).await.map_err(bus_refusal)
    }
}
