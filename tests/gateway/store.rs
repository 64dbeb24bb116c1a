//! A Store to which everybody belongs, and which can be away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use edgeway::application::ports::store::{
    CallContext, DialogPage, HistoryPage, HistoryRange, MessageStore, ReadMark, Sent, StoreError,
};
use edgeway::domain::dialog::Membership;
use edgeway::domain::ids::DialogId;
use edgeway::domain::message::Draft;

/// What it tells of every dialog.
pub(crate) const LAST_MESSAGE_SEQ: u64 = 7;

#[derive(Default)]
pub(crate) struct Store {
    away: AtomicBool,
    asked: AtomicUsize,
}

impl Store {
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// How often it was asked for memberships.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl MessageStore for Store {
    async fn send(&self, _: &CallContext, _: &Draft) -> Result<Sent, StoreError> {
        Err(StoreError::Unimplemented)
    }

    async fn read_upto(&self, _: &CallContext, _: &DialogId, _: u64) -> Result<ReadMark, StoreError> {
        Err(StoreError::Unimplemented)
    }

    async fn check_membership(
        &self,
        _: &CallContext,
        dialogs: &[DialogId],
    ) -> Result<Vec<Membership>, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable);
        }
        let member = |dialog_id: &DialogId| Membership {
            dialog_id: dialog_id.clone(),
            member: true,
            can_read: true,
            can_write: true,
            role: "member".into(),
            version: 1,
            last_message_seq: LAST_MESSAGE_SEQ,
            read_seq: 3,
            member_count: 2,
        };
        Ok(dialogs.iter().map(member).collect())
    }

    async fn history(
        &self,
        _: &CallContext,
        _: &DialogId,
        _: HistoryRange,
        _: u32,
    ) -> Result<HistoryPage, StoreError> {
        Err(StoreError::Unimplemented)
    }

    async fn list_dialogs(&self, _: &CallContext, _: u32, _: Option<&str>) -> Result<DialogPage, StoreError> {
        Err(StoreError::Unimplemented)
    }
}
