//! What the server says beside events: replies, `welcome`, control frames.

use std::time::Duration;

use serde::Serialize;

use crate::application::command::{Followed, Reply, Subscribed};
use crate::domain::body::{ATTACHMENTS_MAX, BODY_MAX_BYTES, MessageBody, TEXT_MAX_CHARS};
use crate::domain::message::Message;
use crate::domain::presence::Presence;
use crate::domain::time::{UnixMillis, whole_millis};
use crate::session::cursor::Cursor;
use crate::session::reader::{Dismissal, Resume};

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
struct SubscribedShape<'a> {
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

/// What `welcome` tells of this node.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How often a WebSocket is pinged.
    pub ping: Duration,
    /// How long a session that nobody reads keeps its queue.
    pub resume_window: Duration,
    /// Largest inbound frame, in bytes.
    pub frame_bytes: u32,
    /// Most dialogs a session may follow.
    pub subscriptions: usize,
    /// Most commands in one batch.
    pub batch_commands: usize,
    /// Least time between two `typing started`.
    pub typing_every: Duration,
    /// How long a `typing started` counts.
    pub typing_expires: Duration,
    /// Above this many members a dialog has no typing.
    pub typing_max_members: u64,
    /// This node's name.
    pub node: String,
}

/// Who is welcomed, and how the session goes on.
#[derive(Debug, Clone, Copy)]
pub struct Welcome<'a> {
    /// The session.
    pub session: &'a str,
    /// Whose it is.
    pub user_id: &'a str,
    /// From where it goes on.
    pub cursor: Cursor,
    /// What came of the dialogs that were asked for.
    pub subscribed: Option<&'a Subscribed>,
    /// Whether the queue was still there.
    pub resume: Resume,
    /// The token's `exp`.
    pub token_expires_at: UnixMillis,
    /// The node's time.
    pub server_time: UnixMillis,
}

#[derive(Serialize)]
struct WelcomeShape<'a> {
    r#type: &'static str,
    session: &'a str,
    user_id: &'a str,
    cursor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribed: Option<SubscribedShape<'a>>,
    resume: &'static str,
    ping_ms: u64,
    resume_ms: u64,
    token_expires_at: String,
    server_time: String,
    limits: LimitsShape,
    node: &'a str,
}

#[derive(Serialize)]
struct LimitsShape {
    frame_bytes: u32,
    body_bytes: usize,
    text_chars: usize,
    attachments: usize,
    subscriptions: usize,
    batch_commands: usize,
    typing_every_ms: u64,
    typing_expires_ms: u64,
    typing_max_members: u64,
}

/// `{"type":"welcome",…}`.
#[must_use]
pub fn welcome_json(welcome: &Welcome<'_>, terms: &Terms) -> Vec<u8> {
    to_json(&WelcomeShape {
        r#type: "welcome",
        session: welcome.session,
        user_id: welcome.user_id,
        cursor: welcome.cursor.to_string(),
        subscribed: welcome.subscribed.map(Into::into),
        resume: welcome.resume.as_str(),
        ping_ms: whole_millis(terms.ping),
        resume_ms: whole_millis(terms.resume_window),
        token_expires_at: welcome.token_expires_at.to_string(),
        server_time: welcome.server_time.to_string(),
        limits: LimitsShape {
            frame_bytes: terms.frame_bytes,
            body_bytes: BODY_MAX_BYTES,
            text_chars: TEXT_MAX_CHARS,
            attachments: ATTACHMENTS_MAX,
            subscriptions: terms.subscriptions,
            batch_commands: terms.batch_commands,
            typing_every_ms: whole_millis(terms.typing_every),
            typing_expires_ms: whole_millis(terms.typing_expires),
            typing_max_members: terms.typing_max_members,
        },
        node: &terms.node,
    })
}

/// Why the server says goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoAway {
    /// The reason's name on the wire.
    pub reason: &'static str,
    /// When to come back.
    pub reconnect_after: Duration,
    /// Whether the session can be gone on with.
    pub resumable: bool,
}

impl GoAway {
    /// What a reader that was dismissed is told; nothing where the close code says it all.
    #[must_use]
    pub fn for_dismissal(dismissal: Dismissal) -> Option<Self> {
        let at_once = Duration::ZERO;
        match dismissal {
            Dismissal::Superseded => Some(("superseded", at_once, true)),
            Dismissal::TokenExpired => Some(("token_expired", at_once, true)),
            Dismissal::Draining { reconnect_after } => Some(("draining", reconnect_after, true)),
            Dismissal::Kicked => Some(("kicked", at_once, false)),
            Dismissal::Deleted | Dismissal::Bye | Dismissal::Expired => None,
        }
        .map(|(reason, reconnect_after, resumable)| Self { reason, reconnect_after, resumable })
    }
}

#[derive(Serialize)]
struct GoAwayShape {
    r#type: &'static str,
    reason: &'static str,
    reconnect_after_ms: u64,
    resumable: bool,
}

/// `{"type":"goaway",…}`.
#[must_use]
pub fn goaway_json(goaway: &GoAway) -> Vec<u8> {
    to_json(&GoAwayShape {
        r#type: "goaway",
        reason: goaway.reason,
        reconnect_after_ms: whole_millis(goaway.reconnect_after),
        resumable: goaway.resumable,
    })
}

#[derive(Serialize)]
struct TokenExpiringShape {
    r#type: &'static str,
    expires_at: String,
}

/// `{"type":"token_expiring",…}`.
#[must_use]
pub fn token_expiring_json(expires_at: UnixMillis) -> Vec<u8> {
    to_json(&TokenExpiringShape { r#type: "token_expiring", expires_at: expires_at.to_string() })
}

/// `{"type":"heartbeat"}`.
pub const HEARTBEAT_JSON: &[u8] = br#"{"type":"heartbeat"}"#;

/// `{"ticket":…,"expires_in_ms":…}`.
#[must_use]
pub fn ticket_json(ticket: &str, expires_in: Duration) -> Vec<u8> {
    #[derive(Serialize)]
    struct TicketShape<'a> {
        ticket: &'a str,
        expires_in_ms: u64,
    }
    to_json(&TicketShape { ticket, expires_in_ms: whole_millis(expires_in) })
}
