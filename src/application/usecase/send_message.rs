//! Sending: idempotent by (user, client message id), answered only after the Store has committed.

use std::sync::Arc;

use crate::application::command::{Reply, store_refusal};
use crate::application::gateway::Gateway;
use crate::application::ports::idempotency::{Claim, IdempotencyCache, SendReceipt};
use crate::application::ports::store::StoreError;
use crate::application::sessions::live::LiveSession;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::{ClientMessageId, UserId};
use crate::domain::message::Draft;

/// Gives an open claim back when the caller goes away before it has an answer.
struct OpenClaim<'a> {
    cache: &'a dyn IdempotencyCache,
    user: &'a UserId,
    id: &'a ClientMessageId,
    answered: bool,
}

impl Drop for OpenClaim<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.cache.release(self.user, self.id);
        }
    }
}

impl Gateway {
    pub(in crate::application) async fn send_message(
        &self,
        session: &Arc<LiveSession>,
        draft: &Draft,
    ) -> Result<Reply, Refusal> {
        let (user, id) = (session.user_id(), &draft.client_message_id);
        let cache = &*self.ports.idempotency;
        let fingerprint = draft.fingerprint();
        match cache.claim(user, id, fingerprint, self.config.send_patience).await {
            Claim::Done(receipt) => return Ok(Reply::Sent { receipt, duplicate: true }),
            Claim::Conflict => return Err(store_refusal(StoreError::Conflict)),
            Claim::Fresh => {}
        }
        let mut claim = OpenClaim { cache, user, id, answered: false };
        let call = Self::call_for(user, Some(session));
        let sent = match self.ports.store.send(&call, draft).await {
            Ok(sent) => sent,
            Err(error) => {
                if error == StoreError::NotMember {
                    self.memberships.forget(user, &draft.dialog_id);
                }
                let mut refusal = store_refusal(error);
                refusal.unknown_outcome = matches!(refusal.code, ErrorCode::Unavailable | ErrorCode::Timeout);
                return Err(refusal);
            }
        };
        let receipt = SendReceipt {
            message_id: sent.message.message_id,
            seq: sent.message.seq,
            created_at: sent.message.created_at,
        };
        cache.complete(user, id, fingerprint, &receipt).await;
        claim.answered = true;
        Ok(Reply::Sent { receipt, duplicate: sent.duplicate })
    }
}
