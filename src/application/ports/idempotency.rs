//! Who has sent what already: the fast path in front of the Store's own unique constraint.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::ids::{ClientMessageId, MessageId, UserId};
use crate::domain::time::UnixMillis;

/// How long a result is remembered.
pub const SENT_TTL: Duration = Duration::from_secs(10 * 60);

/// The answer to a send, as it is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReceipt {
    /// The Store's name for the message.
    pub message_id: MessageId,
    /// Its place in the dialog.
    pub seq: u64,
    /// When the Store committed it.
    pub created_at: UnixMillis,
}

/// What is known of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has it: the caller sends, and then says [`IdempotencyCache::complete`] or [`IdempotencyCache::release`].
    Fresh,
    /// It was sent; this was the answer.
    Done(SendReceipt),
    /// The id was used for something else.
    Conflict,
}

/// Remembers sends by (user, client message id).
#[async_trait]
pub trait IdempotencyCache: Send + Sync {
    /// Claims a send. While another claim of the same send is open, waits for its end, for at most `patience`; then
    /// (or when nobody can tell) answers [`Claim::Fresh`], since the Store itself refuses a second copy.
    ///
    /// `fingerprint` is a hash of dialog and body: another one under the same id is a [`Claim::Conflict`].
    async fn claim(&self, user: &UserId, id: &ClientMessageId, fingerprint: u64, patience: Duration)
    -> Claim;

    /// Ends a claim with the answer.
    async fn complete(&self, user: &UserId, id: &ClientMessageId, fingerprint: u64, receipt: &SendReceipt);

    /// Ends a claim without an answer: the next one may try. Synchronous, so that a dropped caller can say it too.
    fn release(&self, user: &UserId, id: &ClientMessageId);
}
