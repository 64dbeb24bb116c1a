//! What the server says of its own accord beside events: `welcome`, control frames, tickets.

use std::time::Duration;

use serde::Serialize;

use super::replies::{SubscribedShape, to_json};
use crate::application::command::Subscribed;
use crate::domain::body::{ATTACHMENTS_MAX, BODY_MAX_BYTES, TEXT_MAX_CHARS};
use crate::domain::time::{UnixMillis, whole_millis};
use crate::session::cursor::Cursor;
use crate::session::reader::{Dismissal, Resume};

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
            Dismissal::RateLimited { reconnect_after } => Some(("rate_limited", reconnect_after, true)),
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
