//! Marking as read: the mark only moves forward.

use std::sync::Arc;

use crate::application::command::{Reply, store_refusal};
use crate::application::gateway::Gateway;
use crate::application::ports::store::StoreError;
use crate::application::sessions::live::LiveSession;
use crate::domain::error::Refusal;
use crate::domain::ids::DialogId;

impl Gateway {
    pub(in crate::application) async fn read_upto(
        &self,
        session: &Arc<LiveSession>,
        dialog: &DialogId,
        seq: u64,
    ) -> Result<Reply, Refusal> {
        let call = Self::call_for(session.user_id(), Some(session));
        match self.read_marks.advance(&call, dialog, seq).await {
            Ok(mark) => Ok(Reply::Read { read_seq: mark.read_seq, unread: mark.unread }),
            Err(error) => {
                if error == StoreError::NotMember {
                    self.memberships.forget(session.user_id(), dialog);
                }
                Err(store_refusal(error))
            }
        }
    }
}
