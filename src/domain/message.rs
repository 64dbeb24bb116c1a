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

impl Draft {
    /// A number that differs for different content under the same client message id: FNV-1a over every field, each
    /// with its length, so that nodes of any version agree.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv1a::default();
        hash.field(self.dialog_id.as_str());
        hash.field(self.reply_to.as_ref().map_or("", MessageId::as_str));
        hash.field(self.body.text());
        for attachment in self.body.attachments() {
            hash.field(&attachment.id);
            hash.field(&attachment.name);
            hash.field(&attachment.mime);
            hash.bytes(&attachment.size.to_le_bytes());
            hash.field(attachment.url.as_deref().unwrap_or(""));
        }
        hash.0
    }
}

struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a {
    fn field(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
