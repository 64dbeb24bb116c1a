//! At most one "typing" in a while, over all nodes.

use async_trait::async_trait;

use crate::domain::ids::{DialogId, UserId};

/// Lets one `typing started` pass per (user, dialog) and interval.
#[async_trait]
pub trait TypingThrottle: Send + Sync {
    /// Whether this one passes. When nobody can tell, it does not.
    async fn pass(&self, user: &UserId, dialog: &DialogId) -> bool;

    /// Forgets the last one: after a message or a `stopped`, the next passes.
    async fn reset(&self, user: &UserId, dialog: &DialogId);
}
