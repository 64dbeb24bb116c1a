//! As much of an event from the bus as the gateway must know to say what it is.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::node_words;
use crate::application::ports::bus::EVENT_MAX_BYTES;
use crate::application::ports::codec::Undecodable;
use crate::domain::event::{EventKind, MembershipChange};
use crate::domain::ids::{DialogId, FeedKey, ID_MAX_BYTES, UserId};
use crate::domain::presence::{PresenceState, TypingState};
use crate::domain::time::UnixMillis;

/// As much of an event as the gateway must know.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    dialog_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    message: Option<MessageHead<'a>>,
    read_seq: Option<u64>,
    #[serde(borrow)]
    change: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) by: Option<Cow<'a, str>>,
    #[serde(borrow)]
    state: Option<Cow<'a, str>>,
    // The gateway's own: an event that brings them would have them twice.
    cursor: Option<IgnoredAny>,
    offset: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct MessageHead<'a> {
    #[serde(borrow)]
    message_id: Cow<'a, str>,
    #[serde(borrow)]
    dialog_id: Cow<'a, str>,
    #[serde(borrow)]
    sender_id: Cow<'a, str>,
    seq: u64,
    /// Only measured with: whatever stands here goes through.
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
}

/// What stands in an event from the bus, and its JSON without what stands around it.
pub(super) fn read_head(json: &Bytes) -> Result<(Head<'_>, &[u8]), Undecodable> {
    if json.len() > EVENT_MAX_BYTES {
        return Err(Undecodable::TooLarge);
    }
    let json = json.trim_ascii();
    // All of it, also what is only passed on: text that is not UTF-8 would cost every receiver its WebSocket.
    let Ok(text) = std::str::from_utf8(json) else { return Err(Undecodable::NotJson) };
    match serde_json::from_str::<Head<'_>>(text) {
        Ok(head) if head.cursor.is_some() || head.offset.is_some() => Err(Undecodable::WrongShape),
        // A struct also reads from an array.
        Ok(head) if json.first() == Some(&b'{') => Ok((head, json)),
        Ok(_) => Err(Undecodable::NotJson),
        Err(error) if error.is_data() => Err(Undecodable::WrongShape),
        Err(_) => Err(Undecodable::NotJson),
    }
}

/// What an entry of this feed's log is.
pub(super) fn logged_kind(feed: &FeedKey, head: &Head<'_>) -> Result<EventKind, Undecodable> {
    match &*head.r#type {
        "membership" => {
            let name = head.dialog_id.as_deref().ok_or(Undecodable::WrongShape)?;
            let dialog = DialogId::parse(name).map_err(|_| Undecodable::WrongShape)?;
            let user = user_of(head)?;
            let concerns = match feed {
                FeedKey::Dialog(own) => *own == dialog,
                FeedKey::User(own) => *own == user,
            };
            let change = match head.change.as_deref() {
                Some("added") => MembershipChange::Added,
                Some("removed") => MembershipChange::Removed,
                _ => return Err(Undecodable::WrongShape),
            };
            if concerns {
                Ok(EventKind::Membership { dialog, user, change })
            } else {
                Err(Undecodable::WrongShape)
            }
        }
        _ if !is_of(head, feed) => Err(Undecodable::WrongShape),
        "message_new" => {
            let message = head.message.as_ref().ok_or(Undecodable::WrongShape)?;
            let sound = Some(&message.dialog_id) == head.dialog_id.as_ref()
                && message.seq > 0
                && (1..=ID_MAX_BYTES).contains(&message.message_id.len());
            let sender = UserId::parse(&message.sender_id).map_err(|_| Undecodable::WrongShape)?;
            if sound {
                let created_at =
                    message.created_at.and_then(|raw| UnixMillis::parse(raw.get().trim_matches('"')));
                Ok(EventKind::Message { sender, seq: message.seq, created_at })
            } else {
                Err(Undecodable::WrongShape)
            }
        }
        "receipt" if head.read_seq.is_some() => Ok(EventKind::Receipt { user: user_of(head)? }),
        name if name.len() > 2 && name.starts_with("x.") => Ok(EventKind::Application),
        _ => Err(Undecodable::WrongShape),
    }
}

/// What comes over this feed's live channel alone.
pub(super) fn ephemeral_kind(feed: &FeedKey, head: &Head<'_>, json: &[u8]) -> Result<EventKind, Undecodable> {
    let user = user_of(head)?;
    match (&*head.r#type, feed) {
        ("kick", FeedKey::User(own)) if *own == user => Ok(EventKind::Kick),
        (kind, FeedKey::User(own)) if *own == user => {
            Ok(EventKind::Node(node_words::read(kind, json).ok_or(Undecodable::WrongShape)?))
        }
        ("typing", FeedKey::Dialog(_)) if is_of(head, feed) => {
            let state = match head.state.as_deref() {
                Some("started") => TypingState::Started,
                Some("stopped") => TypingState::Stopped,
                _ => return Err(Undecodable::WrongShape),
            };
            Ok(EventKind::Typing { user, state })
        }
        ("presence", FeedKey::Dialog(_)) if is_of(head, feed) => {
            let state = match head.state.as_deref() {
                Some("online") => PresenceState::Online,
                Some("away") => PresenceState::Away,
                Some("offline") => PresenceState::Offline,
                _ => return Err(Undecodable::WrongShape),
            };
            Ok(EventKind::Presence { user, state })
        }
        _ => Err(Undecodable::WrongShape),
    }
}

/// Whether the event names the dialog of the feed it came from.
fn is_of(head: &Head<'_>, feed: &FeedKey) -> bool {
    feed.dialog().is_some_and(|dialog| head.dialog_id.as_deref() == Some(dialog.as_str()))
}

fn user_of(head: &Head<'_>) -> Result<UserId, Undecodable> {
    let name = head.user_id.as_deref().ok_or(Undecodable::WrongShape)?;
    UserId::parse(name).map_err(|_| Undecodable::WrongShape)
}
