//! Showing a newer token: the session lives as long as the newest one.

use std::sync::Arc;

use super::attach::unverified;
use crate::application::command::Reply;
use crate::application::gateway::Gateway;
use crate::application::sessions::live::LiveSession;
use crate::domain::error::{ErrorCode, Refusal};

impl Gateway {
    pub(in crate::application) async fn refresh(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        token: &str,
    ) -> Result<Reply, Refusal> {
        let identity = self.ports.auth.verify(token).await.map_err(unverified)?;
        if identity.user_id != *session.user_id() {
            return Err(Refusal::new(ErrorCode::Forbidden, "the token is another user's"));
        }
        if !identity.scopes.read {
            return Err(Refusal::new(ErrorCode::Forbidden, "the token does not allow reading"));
        }
        session.with(|machine| machine.set_token_expiry(identity.expires_at));
        self.schedule(session);
        Ok(Reply::Refreshed(identity))
    }
}
