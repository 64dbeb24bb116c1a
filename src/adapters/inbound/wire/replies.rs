//! What commands are answered.

use serde::Serialize;

use crate::application::command::{Followed, Reply, Subscribed};
use crate::domain::body::MessageBody;
use crate::domain::message::Message;
use crate::domain::presence::Presence;

/// Serialises one of this module's own shapes.
pub(super) fn to_json(shape: &impl Serialize) -> Vec<u8> {
    // Plain structs with string keys: serde_json has no way to fail on them.
    serde_json::to_vec(shape).unwrap_or_default()
}

/// A message as clients see it.
#[derive(Serialize)]
pub(super) struct MessageShape<'a> {
    message_id: &'a str,
    dialog_id: &'a str,
    seq: u64,
    sender_id: &'a str,
    client_message_id: &'a str,
    body: BodyShape<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    created_at: String,
}

#[derive(Serialize)]
struct BodyShape<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<AttachmentShape<'a>>,
}

#[derive(Serialize)]
struct AttachmentShape<'a> {
    id: &'a str,
    name: &'a str,
    mime: &'a str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

impl<'a> From<&'a Message> for MessageShape<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            message_id: message.message_id.as_str(),
            dialog_id: message.dialog_id.as_str(),
            seq: message.seq,
            sender_id: message.sender_id.as_str(),
            client_message_id: message.client_message_id.as_str(),
            body: (&message.body).into(),
            reply_to: message.reply_to.as_ref().map(|id| id.as_str()),
            created_at: message.created_at.to_string(),
        }
    }
}

impl<'a> From<&'a MessageBody> for BodyShape<'a> {
    fn from(body: &'a MessageBody) -> Self {
        let attachments = body.attachments().iter().map(|attachment| AttachmentShape {
            id: &attachment.id,
            name: &attachment.name,
            mime: &attachment.mime,
            size: attachment.size,
            url: attachment.url.as_deref(),
        });
        Self { text: body.text(), attachments: attachments.collect() }
    }
}

#[derive(Serialize)]
pub(super) struct PresenceShape<'a> {
    user_id: &'a str,
    state: &'static str,
    last_active: String,
}

impl<'a> From<&'a Presence> for PresenceShape<'a> {
    fn from(presence: &'a Presence) -> Self {
        Self {
            user_id: presence.user_id.as_str(),
            state: presence.state.as_str(),
            last_active: presence.last_active.to_string(),
        }
    }
}

#[derive(Serialize)]
struct FollowedShape<'a> {
    dialog_id: &'a str,
    epoch: &'a str,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_seq: Option<u64>,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence: Option<Vec<PresenceShape<'a>>>,
}

impl<'a> From<&'a Followed> for FollowedShape<'a> {
    fn from(followed: &'a Followed) -> Self {
        Self {
            dialog_id: followed.dialog_id.as_str(),
            epoch: &followed.epoch,
            offset: followed.offset,
            last_message_seq: followed.last_message_seq,
            read_seq: followed.read_seq,
            role: &followed.role,
            replayed: followed.replayed,
            presence: followed.presence.as_ref().map(|users| users.iter().map(Into::into).collect()),
        }
    }
}

#[derive(Serialize)]
struct FailedShape<'a> {
    dialog_id: &'a str,
    code: &'static str,
}

#[derive(Serialize)]
pub(super) struct SubscribedShape<'a> {
    dialogs: Vec<FollowedShape<'a>>,
    failed: Vec<FailedShape<'a>>,
}

impl<'a> From<&'a Subscribed> for SubscribedShape<'a> {
    fn from(subscribed: &'a Subscribed) -> Self {
        let failed = subscribed
            .failed
            .iter()
            .map(|failed| FailedShape { dialog_id: &failed.dialog_id, code: failed.code.as_str() });
        Self { dialogs: subscribed.dialogs.iter().map(Into::into).collect(), failed: failed.collect() }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    None {},
    Subscribed(SubscribedShape<'a>),
    Sent { message_id: &'a str, seq: u64, created_at: String, duplicate: bool },
    Read { read_seq: u64, unread: u64 },
    History { messages: Vec<MessageShape<'a>>, has_more: bool },
    Presence { users: Vec<PresenceShape<'a>> },
    Refreshed { token_expires_at: String },
    Pong { server_time: String },
}

#[derive(Serialize)]
struct ReplyShape<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#ref: Option<&'a str>,
    #[serde(flatten)]
    fields: Fields<'a>,
}

/// `{"type":"ok","ref":…,…}`, or `pong`.
#[must_use]
pub fn reply_json(reply: &Reply, reference: Option<&str>) -> Vec<u8> {
    let fields = match reply {
        Reply::Done => Fields::None {},
        Reply::Subscribed(subscribed) => Fields::Subscribed(subscribed.into()),
        Reply::Sent { receipt, duplicate } => Fields::Sent {
            message_id: receipt.message_id.as_str(),
            seq: receipt.seq,
            created_at: receipt.created_at.to_string(),
            duplicate: *duplicate,
        },
        Reply::Read { read_seq, unread } => Fields::Read { read_seq: *read_seq, unread: *unread },
        Reply::History { messages, has_more } => {
            Fields::History { messages: messages.iter().map(Into::into).collect(), has_more: *has_more }
        }
        Reply::Presence(users) => Fields::Presence { users: users.iter().map(Into::into).collect() },
        Reply::Refreshed(identity) => Fields::Refreshed { token_expires_at: identity.expires_at.to_string() },
        Reply::Pong { server_time } => Fields::Pong { server_time: server_time.to_string() },
    };
    let r#type = if matches!(reply, Reply::Pong { .. }) { "pong" } else { "ok" };
    to_json(&ReplyShape { r#type, r#ref: reference, fields })
}
