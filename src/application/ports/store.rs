//! The message store: owns dialogs, members and messages; the gateway is its client.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::dialog::{DialogSummary, Membership};
use crate::domain::ids::{DialogId, SessionId, UserId};
use crate::domain::message::{Draft, Message};

/// Most dialogs one membership question may name.
pub const MEMBERSHIP_BATCH_MAX: usize = 200;
/// Most messages one page of history has.
pub const HISTORY_PAGE_MAX: u32 = 200;

/// For whom, and in which request, the Store is asked: travels as metadata.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The acting user.
    pub user_id: UserId,
    /// The session it acts in, if there is one.
    pub session_id: Option<SessionId>,
}

/// Why the Store did not do what it was asked. No text of the Store travels on to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The arguments are wrong.
    #[error("the store refuses the arguments")]
    Invalid,
    /// The user doesn't belong to the dialog.
    #[error("not a member")]
    NotMember,
    /// There is no such dialog or message.
    #[error("not found")]
    NotFound,
    /// The same client message id with another body or dialog.
    #[error("conflict")]
    Conflict,
    /// Too often; again after a while if it says so.
    #[error("rate limited")]
    RateLimited {
        /// The Store's own advice.
        retry_after: Option<Duration>,
    },
    /// No answer: the link is down, or the circuit open.
    #[error("unavailable")]
    Unavailable,
    /// The Store doesn't offer this call.
    #[error("not offered by this store")]
    Unimplemented,
    /// No answer in time.
    #[error("timeout")]
    Timeout,
    /// Anything else.
    #[error("internal")]
    Internal,
}

/// What came of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The committed message.
    pub message: Message,
    /// Whether it had been committed before.
    pub duplicate: bool,
}

/// What came of reading up to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMark {
    /// How far the user has read now.
    pub read_seq: u64,
    /// How many messages are unread now.
    pub unread: u64,
    /// Whether this call moved the mark.
    pub changed: bool,
}

/// From where a page of history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryRange {
    /// The newest messages.
    Newest,
    /// Messages with a `seq` below this one, nearest first kept.
    Before(u64),
    /// Messages with a `seq` above this one, nearest first kept.
    After(u64),
}

/// One page of history, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The messages, in ascending `seq`.
    pub messages: Vec<Message>,
    /// Whether there are more in the direction that was read.
    pub has_more: bool,
}

/// One page of a user's dialogs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogPage {
    /// The dialogs.
    pub dialogs: Vec<DialogSummary>,
    /// Names the next page; `None` after the last.
    pub next_page_token: Option<String>,
}

/// The message store.
#[async_trait]
pub trait MessageStore: Send + Sync {
    /// Commits a message; idempotent by (user, client message id).
    async fn send(&self, call: &CallContext, draft: &Draft) -> Result<Sent, StoreError>;

    /// Moves the user's read mark forward; never back.
    async fn read_upto(
        &self,
        call: &CallContext,
        dialog: &DialogId,
        seq: u64,
    ) -> Result<ReadMark, StoreError>;

    /// What the user may do in each of at most [`MEMBERSHIP_BATCH_MAX`] dialogs. A dialog that is missing in the answer
    /// is one the user doesn't belong to.
    async fn check_membership(
        &self,
        call: &CallContext,
        dialogs: &[DialogId],
    ) -> Result<Vec<Membership>, StoreError>;

    /// A page of at most [`HISTORY_PAGE_MAX`] messages.
    async fn history(
        &self,
        call: &CallContext,
        dialog: &DialogId,
        range: HistoryRange,
        limit: u32,
    ) -> Result<HistoryPage, StoreError>;

    /// A page of the user's dialogs.
    async fn list_dialogs(
        &self,
        call: &CallContext,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<DialogPage, StoreError>;
}
