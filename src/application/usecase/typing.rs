//! Telling that one is writing: at most one `started` in a while, and never to oneself.

use std::sync::Arc;

use crate::application::command::{Reply, store_refusal};
use crate::application::gateway::Gateway;
use crate::application::sessions::live::LiveSession;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::{DialogId, FeedKey};
use crate::domain::presence::TypingState;

impl Gateway {
    /// What the throttle swallows is answered like what it passes on: the client need not know.
    pub(in crate::application) async fn typing(
        &self,
        session: &Arc<LiveSession>,
        dialog: &DialogId,
        state: TypingState,
    ) -> Result<Reply, Refusal> {
        let user = session.user_id();
        let call = Self::call_for(user, Some(session));
        let membership = self.memberships.of(&call, dialog).await.map_err(store_refusal)?;
        if !membership.writable() {
            return Err(Refusal::new(ErrorCode::NotMember, "you are not a member of the dialog"));
        }
        if membership.member_count > self.config.typing_max_members {
            return Ok(Reply::Done);
        }
        let passes = match state {
            TypingState::Started => self.ports.throttle.pass(user, dialog).await,
            TypingState::Stopped => true,
        };
        if passes {
            let event = self.ports.codec.typing(dialog, user, state, self.config.typing_expires);
            let feed = FeedKey::Dialog(dialog.clone());
            if let Err(error) = self.ports.bus.publish_ephemeral(&feed, event).await {
                // At most once is all that is promised.
                tracing::debug!(%error, "typing not published");
            }
        }
        Ok(Reply::Done)
    }
}
