//! The ports that need no more than a gate, or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use edgeway::adapters::inbound::wire::events::JsonCodec;
use edgeway::application::ports::auth::{AuthError, Authenticator, Identity};
use edgeway::application::ports::bus::LogEntry;
use edgeway::application::ports::codec::{EventCodec, Undecodable};
use edgeway::application::ports::idempotency::{Claim, IdempotencyCache, SendReceipt};
use edgeway::application::ports::telemetry::occurrence::{Occurrence, Telemetry};
use edgeway::domain::event::{Event, EventKind, LogEpoch, MembershipChange, NodeWord};
use edgeway::domain::ids::{ClientMessageId, DialogId, FeedKey, UserId};
use edgeway::domain::message::Message;
use edgeway::domain::presence::{Presence, TypingState};
use edgeway::session::replay::Gap;
use parking_lot::Mutex;

use super::mutant::Mutant;

/// Counts what happened, to tell whether the runs get anywhere.
#[derive(Default)]
pub(crate) struct Counts(pub(crate) Mutex<BTreeMap<String, u64>>);

impl Telemetry for Counts {
    fn record(&self, occurrence: Occurrence) {
        let name = match occurrence {
            Occurrence::Attached(_, resume) => format!("attached {}", resume.as_str()),
            Occurrence::Repaired(reason) => format!("repaired {}", reason.as_str()),
            Occurrence::GapTold(reason) => format!("gap {}", reason.as_str()),
            Occurrence::Spilled => "spilled".to_owned(),
            Occurrence::PayloadSkipped(_) => "skipped".to_owned(),
            _ => return,
        };
        *self.0.lock().entry(name).or_default() += 1;
    }
}

/// Nobody shows a token here: clients come with an identity.
pub(crate) struct NoTokens;

#[async_trait]
impl Authenticator for NoTokens {
    async fn verify(&self, _: &str) -> Result<Identity, AuthError> {
        Err(AuthError::Unauthorized)
    }

    fn leeway(&self) -> Duration {
        Duration::ZERO
    }
}

/// The memory of sends; a mutant forgets whose they were.
pub(crate) struct Sends {
    pub(crate) cache: Arc<dyn IdempotencyCache>,
    pub(crate) mutant: Option<Mutant>,
}

impl Sends {
    fn whose(&self, user: &UserId) -> UserId {
        if self.mutant == Some(Mutant::DedupeWithoutUser) {
            UserId::parse("anybody").unwrap()
        } else {
            user.clone()
        }
    }
}

#[async_trait]
impl IdempotencyCache for Sends {
    async fn claim(
        &self,
        user: &UserId,
        id: &ClientMessageId,
        fingerprint: u64,
        patience: Duration,
    ) -> Claim {
        self.cache.claim(&self.whose(user), id, fingerprint, patience).await
    }

    async fn complete(&self, user: &UserId, id: &ClientMessageId, fingerprint: u64, receipt: &SendReceipt) {
        self.cache.complete(&self.whose(user), id, fingerprint, receipt).await;
    }

    fn release(&self, user: &UserId, id: &ClientMessageId) {
        self.cache.release(&self.whose(user), id);
    }
}

/// Events as bytes, as they ship; a mutant does not understand removals.
pub(crate) struct Codec(pub(crate) Option<Mutant>);

impl EventCodec for Codec {
    fn decode_logged(&self, feed: &FeedKey, entry: &LogEntry) -> Result<Event, Undecodable> {
        let mut event = JsonCodec.decode_logged(feed, entry)?;
        if self.0 == Some(Mutant::DeafToRemovals)
            && matches!(event.kind, EventKind::Membership { change: MembershipChange::Removed, .. })
        {
            event.kind = EventKind::Application;
        }
        Ok(event)
    }

    fn decode_ephemeral(&self, feed: &FeedKey, json: &Bytes) -> Result<Event, Undecodable> {
        JsonCodec.decode_ephemeral(feed, json)
    }

    fn typing(&self, dialog: &DialogId, user: &UserId, state: TypingState, expires_in: Duration) -> Bytes {
        JsonCodec.typing(dialog, user, state, expires_in)
    }

    fn presence(&self, dialog: &DialogId, presence: &Presence) -> Bytes {
        JsonCodec.presence(dialog, presence)
    }

    fn kick(&self, user: &UserId, reason: &str) -> Bytes {
        JsonCodec.kick(user, reason)
    }

    fn node_word(&self, user: &UserId, word: &NodeWord) -> Bytes {
        JsonCodec.node_word(user, word)
    }

    fn gap(&self, feed: &FeedKey, epoch: &LogEpoch, gap: &Gap, messages_restored: bool) -> Bytes {
        JsonCodec.gap(feed, epoch, gap, messages_restored)
    }

    fn restored(&self, message: &Message) -> Bytes {
        JsonCodec.restored(message)
    }
}
