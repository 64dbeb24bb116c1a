//! A message as the Store keeps it.

use super::body::MessageBody;
use super::ids::{ClientMessageId, DialogId, MessageId, UserId};
use super::time::UnixMillis;

/// A committed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The Store's name for it.
    pub message_id: MessageId,
    /// Where it was said.
    pub dialog_id: DialogId,
    /// Its place in the dialog: from 1, without holes.
    pub seq: u64,
    /// Who said it.
    pub sender_id: UserId,
    /// The sender's name for it.
    pub client_message_id: ClientMessageId,
    /// What was said.
    pub body: MessageBody,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// When the Store committed it.
    pub created_at: UnixMillis,
}

/// A message on its way to the Store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Draft {
    /// Where it is said.
    pub dialog_id: DialogId,
    /// The sender's name for it: a repeat with the same id is the same message.
    pub client_message_id: ClientMessageId,
    /// What is said.
    pub body: MessageBody,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
}
