//! A Store in which everybody belongs to every dialog until removed, which lists none, and which can be away.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use edgeway::application::ports::store::{
    CallContext, DialogPage, HistoryPage, HistoryRange, MessageStore, ReadMark, Sent, StoreError,
};
use edgeway::domain::body::MessageBody;
use edgeway::domain::dialog::Membership;
use edgeway::domain::ids::{ClientMessageId, DialogId, MessageId, UserId};
use edgeway::domain::message::{Draft, Message};
use edgeway::domain::time::UnixMillis;
use parking_lot::Mutex;

/// What it tells of every dialog.
pub(crate) const LAST_MESSAGE_SEQ: u64 = 7;

#[derive(Default)]
pub(crate) struct Store {
    away: AtomicBool,
    asked: AtomicUsize,
    removed: Mutex<HashSet<(UserId, DialogId)>>,
}

/// A message as the Store has it, in every dialog.
fn message(dialog_id: &DialogId, seq: u64) -> Message {
    let text = format!("the Store's {seq}");
    Message {
        message_id: MessageId::parse(&format!("m{seq}")).unwrap(),
        dialog_id: dialog_id.clone(),
        seq,
        sender_id: UserId::parse("bob").unwrap(),
        client_message_id: ClientMessageId::parse(&format!("c{seq}")).unwrap(),
        body: MessageBody::new(text, Vec::new()).unwrap(),
        reply_to: None,
        created_at: UnixMillis(0),
    }
}

impl Store {
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// The user belongs to the dialog no more; nobody is told.
    pub(crate) fn remove(&self, user: &str, dialog: &DialogId) {
        self.removed.lock().insert((UserId::parse(user).unwrap(), dialog.clone()));
    }

    /// The user belongs to it again.
    pub(crate) fn add(&self, user: &str, dialog: &DialogId) {
        self.removed.lock().remove(&(UserId::parse(user).unwrap(), dialog.clone()));
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
        call: &CallContext,
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
        let removed = self.removed.lock();
        let belongs = |dialog: &&DialogId| !removed.contains(&(call.user_id.clone(), (*dialog).clone()));
        Ok(dialogs.iter().filter(belongs).map(member).collect())
    }

    async fn history(
        &self,
        _: &CallContext,
        dialog: &DialogId,
        range: HistoryRange,
        _: u32,
    ) -> Result<HistoryPage, StoreError> {
        let HistoryRange::After(seq) = range else { return Err(StoreError::Unimplemented) };
        let messages = (seq + 1..=LAST_MESSAGE_SEQ).map(|seq| message(dialog, seq)).collect();
        Ok(HistoryPage { messages, has_more: false })
    }

    async fn list_dialogs(&self, _: &CallContext, _: u32, _: Option<&str>) -> Result<DialogPage, StoreError> {
        Ok(DialogPage { dialogs: Vec::new(), next_page_token: None })
    }
}
