//! Events: from the JSON of a log to the bytes that all sessions of a node share.
//!
//! A client's event is the log's JSON with `cursor` and `offset` added. What is shared is everything but the cursor,
//! as a JSON object without its opening brace; a delivery writes `{"cursor":"…",` in front and is done.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use serde::Serialize;

use super::event_head::{Head, ephemeral_kind, logged_kind, read_head};
use super::node_words;
use super::replies::{MessageShape, to_json};
use crate::application::ports::bus::LogEntry;
use crate::application::ports::codec::{EventCodec, Undecodable};
use crate::domain::event::{Event, EventKind, LogEpoch, Logged, MembershipChange, NodeWord};
use crate::domain::ids::{DialogId, FeedKey, UserId};
use crate::domain::message::Message;
use crate::domain::presence::{Presence, TypingState};
use crate::domain::time::whole_millis;
use crate::session::cursor::CursorText;
use crate::session::replay::Gap;

/// Longest prefix that [`write_prefix`] writes, in bytes.
pub const PREFIX_MAX_BYTES: usize = crate::session::cursor::CURSOR_MAX_CHARS + 13;

/// Writes what goes in front of a shared body: `{"cursor":"…",`, or only the brace of an event without a cursor.
pub fn write_prefix(cursor: Option<&CursorText>, out: &mut impl BufMut) {
    out.put_u8(b'{');
    if let Some(cursor) = cursor {
        out.put_slice(b"\"cursor\":\"");
        out.put_slice(cursor.as_bytes());
        out.put_slice(b"\",");
    }
}

/// The protocol's events as JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonCodec;

impl EventCodec for JsonCodec {
    fn decode_logged(&self, feed: &FeedKey, entry: &LogEntry) -> Result<Event, Undecodable> {
        let (head, json) = read_head(&entry.json)?;
        let kind = logged_kind(feed, &head)?;
        let mut body = format!("\"offset\":{},", entry.offset).into_bytes();
        if let EventKind::Membership { dialog, user, change } = &kind {
            write_membership(feed, dialog, user, *change, &head, &mut body);
        } else {
            append_object(json, &mut body)?;
        }
        Ok(Event {
            feed: feed.clone(),
            logged: Some(Logged { epoch: entry.epoch.clone(), offset: entry.offset, at: entry.at }),
            kind,
            body: body.into(),
        })
    }

    fn decode_ephemeral(&self, feed: &FeedKey, json: &Bytes) -> Result<Event, Undecodable> {
        let (head, json) = read_head(json)?;
        let kind = ephemeral_kind(feed, &head, json)?;
        let mut body = Vec::with_capacity(json.len());
        append_object(json, &mut body)?;
        Ok(Event { feed: feed.clone(), logged: None, kind, body: body.into() })
    }

    fn typing(&self, dialog: &DialogId, user: &UserId, state: TypingState, expires_in: Duration) -> Bytes {
        #[derive(Serialize)]
        struct Typing<'a> {
            r#type: &'static str,
            dialog_id: &'a str,
            user_id: &'a str,
            state: &'static str,
            expires_in_ms: u64,
        }
        to_json(&Typing {
            r#type: "typing",
            dialog_id: dialog.as_str(),
            user_id: user.as_str(),
            state: state.as_str(),
            expires_in_ms: match state {
                TypingState::Started => whole_millis(expires_in),
                TypingState::Stopped => 0,
            },
        })
        .into()
    }

    fn presence(&self, dialog: &DialogId, presence: &Presence) -> Bytes {
        #[derive(Serialize)]
        struct PresenceEvent<'a> {
            r#type: &'static str,
            dialog_id: &'a str,
            user_id: &'a str,
            state: &'static str,
            last_active: String,
        }
        to_json(&PresenceEvent {
            r#type: "presence",
            dialog_id: dialog.as_str(),
            user_id: presence.user_id.as_str(),
            state: presence.state.as_str(),
            last_active: presence.last_active.to_string(),
        })
        .into()
    }

    fn kick(&self, user: &UserId, reason: &str) -> Bytes {
        #[derive(Serialize)]
        struct Kick<'a> {
            r#type: &'static str,
            user_id: &'a str,
            reason: &'a str,
        }
        to_json(&Kick { r#type: "kick", user_id: user.as_str(), reason }).into()
    }

    fn node_word(&self, user: &UserId, word: &NodeWord) -> Bytes {
        node_words::written(user, word).into()
    }

    fn gap(&self, feed: &FeedKey, epoch: &LogEpoch, gap: &Gap, messages_restored: bool) -> Bytes {
        #[derive(Serialize)]
        struct GapEvent<'a> {
            r#type: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            dialog_id: Option<&'a str>,
            /// A gap of the user's own feed belongs to no dialog.
            #[serde(skip_serializing_if = "Option::is_none")]
            feed: Option<&'static str>,
            epoch: &'a str,
            from_offset: u64,
            to_offset: u64,
            reason: &'static str,
            messages_restored: bool,
        }
        let dialog = feed.dialog();
        without_brace(to_json(&GapEvent {
            r#type: "gap",
            dialog_id: dialog.map(DialogId::as_str),
            feed: dialog.is_none().then_some("user"),
            epoch,
            from_offset: gap.from_offset,
            to_offset: gap.to_offset,
            reason: gap.reason.as_str(),
            messages_restored,
        }))
    }

    fn restored(&self, message: &Message) -> Bytes {
        #[derive(Serialize)]
        struct Restored<'a> {
            r#type: &'static str,
            dialog_id: &'a str,
            restored: bool,
            message: MessageShape<'a>,
        }
        without_brace(to_json(&Restored {
            r#type: "message_new",
            dialog_id: message.dialog_id.as_str(),
            restored: true,
            message: message.into(),
        }))
    }
}

/// Written anew, since `feed` says whose offset it is.
fn write_membership(
    feed: &FeedKey,
    dialog: &DialogId,
    user: &UserId,
    change: MembershipChange,
    head: &Head<'_>,
    out: &mut Vec<u8>,
) {
    #[derive(Serialize)]
    struct MembershipEvent<'a> {
        r#type: &'static str,
        dialog_id: &'a str,
        user_id: &'a str,
        change: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<&'a str>,
        feed: &'static str,
    }
    let shape = MembershipEvent {
        r#type: "membership",
        dialog_id: dialog.as_str(),
        user_id: user.as_str(),
        change: match change {
            MembershipChange::Added => "added",
            MembershipChange::Removed => "removed",
        },
        role: head.role.as_deref(),
        by: head.by.as_deref(),
        feed: match feed {
            FeedKey::Dialog(_) => "dialog",
            FeedKey::User(_) => "user",
        },
    };
    out.extend_from_slice(&without_brace(to_json(&shape)));
}

/// Appends an object without its opening brace. Line breaks between its tokens become spaces, since an SSE line must
/// have none; inside of strings JSON has no raw ones.
fn append_object(json: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let inner = json.strip_prefix(b"{").ok_or(Undecodable::NotJson)?.trim_ascii_start();
    let start = out.len();
    out.extend_from_slice(inner);
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Ok(())
}

fn without_brace(json: Vec<u8>) -> Bytes {
    Bytes::from(json).slice(1..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::bus::EVENT_MAX_BYTES;
    use crate::domain::presence::PresenceState;
    use crate::domain::time::UnixMillis;
    use crate::session::cursor::Cursor;

    fn dialog() -> FeedKey {
        FeedKey::Dialog(DialogId::parse("d").unwrap())
    }

    fn user() -> FeedKey {
        FeedKey::User(UserId::parse("ann").unwrap())
    }

    fn entry(json: &str) -> LogEntry {
        LogEntry {
            epoch: "e".into(),
            offset: 7,
            at: UnixMillis(5),
            json: Bytes::copy_from_slice(json.as_bytes()),
        }
    }

    fn client_sees(event: &Event) -> String {
        let cursor = Cursor { epoch: 1, number: 2, watermark: UnixMillis(3) };
        let mut out = Vec::new();
        write_prefix((!event.is_ephemeral()).then(|| cursor.text()).as_ref(), &mut out);
        out.extend_from_slice(&event.body);
        String::from_utf8(out).unwrap()
    }

    const MESSAGE: &str = r#"{"type":"message_new","dialog_id":"d","message":{"message_id":"m","dialog_id":"d","seq":3,"sender_id":"ann","client_message_id":"c","body":{"text":"é\n"},"created_at":"2026-01-01T00:00:00.000Z"}}"#;

    #[test]
    fn a_message_goes_through_byte_for_byte_with_cursor_and_offset() {
        let event = JsonCodec.decode_logged(&dialog(), &entry(MESSAGE)).unwrap();
        let expected = format!(r#"{{"cursor":"1.2.3","offset":7,{}"#, &MESSAGE[1..]);
        assert_eq!(client_sees(&event), expected);
        let sender = UserId::parse("ann").unwrap();
        let created_at = UnixMillis::parse("2026-01-01T00:00:00Z");
        assert_eq!(event.kind, EventKind::Message { sender, seq: 3, created_at });
    }

    #[test]
    fn an_application_event_is_untouched_but_for_line_breaks_between_tokens() {
        let json = "{\n \"type\":\"x.poll\",\r\n\"dialog_id\":\"d\",\"data\":{\"a\":\"\\n\",\"big\":12345678901234567890}}";
        let event = JsonCodec.decode_logged(&dialog(), &entry(json)).unwrap();
        let seen = client_sees(&event);
        assert!(!seen.contains(['\n', '\r']));
        assert!(seen.ends_with(r#""data":{"a":"\n","big":12345678901234567890}}"#), "{seen}");
    }

    #[test]
    fn membership_says_whose_offset_it_has() {
        let json = r#"{"type":"membership","dialog_id":"d","user_id":"ann","change":"added","role":"admin","feed":"zzz"}"#;
        for (feed, name) in [(dialog(), "dialog"), (user(), "user")] {
            let event = JsonCodec.decode_logged(&feed, &entry(json)).unwrap();
            let seen = client_sees(&event);
            assert!(seen.contains(&format!(r#""role":"admin","feed":"{name}"}}"#)), "{seen}");
        }
    }

    #[test]
    fn what_is_not_an_event_of_the_feed_is_skipped() {
        use Undecodable::{NotJson, WrongShape};
        for (json, why) in [
            ("", NotJson),
            ("garbage", NotJson),
            ("{", NotJson),
            ("[]", WrongShape),
            ("{}", WrongShape),
            (r#"{"type":"message_new","dialog_id":"d"}"#, WrongShape),
            (r#"{"type":"message_new","dialog_id":"other","message":{}}"#, WrongShape),
            (r#"{"type":"x.a","dialog_id":"other"}"#, WrongShape),
            (r#"{"type":"x.","dialog_id":"d"}"#, WrongShape),
            (r#"{"type":"x.a","dialog_id":"d","offset":1}"#, WrongShape),
            (r#"{"type":"x.a","dialog_id":"d","dialog_id":"d"}"#, WrongShape),
            (r#"{"type":"typing","dialog_id":"d","user_id":"ann","state":"started"}"#, WrongShape),
            (r#"{"type":"membership","dialog_id":"d","user_id":"ann","change":"maybe"}"#, WrongShape),
        ] {
            assert_eq!(JsonCodec.decode_logged(&dialog(), &entry(json)), Err(why), "{json}");
        }
        let huge = format!(r#"{{"type":"x.a","dialog_id":"d","data":"{}"}}"#, "x".repeat(EVENT_MAX_BYTES));
        assert_eq!(JsonCodec.decode_logged(&dialog(), &entry(&huge)), Err(Undecodable::TooLarge));
    }

    #[test]
    fn what_the_gateway_publishes_it_reads_again() {
        let (dialog_id, ann) = (DialogId::parse("d").unwrap(), UserId::parse("ann").unwrap());
        let json = JsonCodec.typing(&dialog_id, &ann, TypingState::Started, Duration::from_secs(6));
        let event = JsonCodec.decode_ephemeral(&dialog(), &json).unwrap();
        assert_eq!(event.kind, EventKind::Typing { user: ann.clone(), state: TypingState::Started });
        assert_eq!(client_sees(&event).as_bytes(), &json[..]);
        let presence = Presence { user_id: ann, state: PresenceState::Away, last_active: UnixMillis(0) };
        let json = JsonCodec.presence(&dialog_id, &presence);
        assert!(JsonCodec.decode_ephemeral(&dialog(), &json).is_ok());
        let kick = Bytes::from_static(br#"{"type":"kick","user_id":"ann","reason":"x"}"#);
        assert_eq!(JsonCodec.decode_ephemeral(&user(), &kick).unwrap().kind, EventKind::Kick);
        assert!(JsonCodec.decode_ephemeral(&dialog(), &kick).is_err());
        let kick = JsonCodec.kick(&UserId::parse("ann").unwrap(), "said \"no\"");
        assert_eq!(JsonCodec.decode_ephemeral(&user(), &kick).unwrap().kind, EventKind::Kick);
    }
}
