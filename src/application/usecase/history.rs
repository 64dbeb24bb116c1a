//! Reading old messages.

use std::sync::Arc;

use crate::application::command::{Reply, store_refusal};
use crate::application::gateway::Gateway;
use crate::application::ports::store::{HISTORY_PAGE_MAX, HistoryRange};
use crate::application::sessions::live::LiveSession;
use crate::domain::error::Refusal;
use crate::domain::ids::DialogId;

impl Gateway {
    pub(in crate::application) async fn history(
        &self,
        session: &Arc<LiveSession>,
        dialog: &DialogId,
        range: HistoryRange,
        limit: u32,
    ) -> Result<Reply, Refusal> {
        let call = Self::call_for(session.user_id(), Some(session));
        let limit = limit.clamp(1, HISTORY_PAGE_MAX);
        let page = self.ports.store.history(&call, dialog, range, limit).await.map_err(store_refusal)?;
        Ok(Reply::History { messages: page.messages, has_more: page.has_more })
    }
}
