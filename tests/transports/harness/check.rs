//! What must be true of every object that the server sends.

use serde_json::{Map, Value};

/// Longest cursor, in characters.
const CURSOR_CHARS: usize = 48;

/// The string field of an object.
#[track_caller]
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_else(|| panic!("{field:?} must be a string: {object}"))
}

/// The field of an object that is a whole number, 0 or more.
#[track_caller]
pub(crate) fn number(object: &Value, field: &str) -> u64 {
    object[field].as_u64().unwrap_or_else(|| panic!("{field:?} must be a whole number: {object}"))
}

/// The boolean field of an object.
#[track_caller]
pub(crate) fn flag(object: &Value, field: &str) -> bool {
    object[field].as_bool().unwrap_or_else(|| panic!("{field:?} must be a boolean: {object}"))
}

/// The array field of an object.
#[track_caller]
pub(crate) fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object[field].as_array().unwrap_or_else(|| panic!("{field:?} must be an array: {object}"))
}

/// The entry of an array whose field has this text.
#[track_caller]
pub(crate) fn entry<'a>(entries: &'a [Value], field: &str, value: &str) -> &'a Value {
    entries
        .iter()
        .find(|entry| entry[field] == value)
        .unwrap_or_else(|| panic!("no entry with {field} {value:?} in {entries:?}"))
}

/// At most 48 of `[A-Za-z0-9._-]`.
#[track_caller]
pub(crate) fn cursor(object: &Value) -> &str {
    let cursor = text(object, "cursor");
    let plain = cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    assert!(plain && (1..=CURSOR_CHARS).contains(&cursor.len()), "not a cursor: {object}");
    cursor
}

/// RFC 3339 in UTC with milliseconds: `2026-11-22T21:26:00.000Z`.
#[track_caller]
pub(crate) fn time<'a>(object: &'a Value, field: &str) -> &'a str {
    const PATTERN: &[u8; 24] = b"dddd-dd-ddTdd:dd:dd.dddZ";
    let time = text(object, field);
    let fits = time.len() == PATTERN.len()
        && time.bytes().zip(PATTERN).all(|(b, p)| if *p == b'd' { b.is_ascii_digit() } else { b == *p });
    assert!(fits, "{field:?} must be RFC 3339 in UTC with milliseconds: {object}");
    time
}

/// One of these.
#[track_caller]
fn one_of(object: &Value, field: &str, values: &[&str]) {
    let value = text(object, field);
    assert!(values.contains(&value), "{field:?} must be one of {values:?}: {object}");
}

#[track_caller]
fn fields(object: &Value) -> &Map<String, Value> {
    object.as_object().unwrap_or_else(|| panic!("must be an object: {object}"))
}

/// An error object with this code, complete.
#[track_caller]
pub(crate) fn error(object: &Value, code: &str) {
    assert_eq!(object["type"], "error", "expected the error {code}: {object}");
    assert_eq!(object["code"], code, "expected the error {code}: {object}");
    assert!(!text(object, "message").is_empty(), "a message says what is wrong: {object}");
    let retryable =
        ["rate_limited", "unavailable", "overloaded", "draining", "timeout", "internal"].contains(&code);
    assert_eq!(flag(object, "retryable"), retryable, "{object}");
}

/// A message, as events and `history` carry it.
#[track_caller]
pub(crate) fn message(message: &Value) {
    for field in ["message_id", "dialog_id", "sender_id", "client_message_id"] {
        assert!(!text(message, field).is_empty(), "{field}: {message}");
    }
    assert!(number(message, "seq") >= 1, "{message}");
    fields(&message["body"]);
    time(message, "created_at");
}

/// A user in a presence list or event.
#[track_caller]
pub(crate) fn presence(user: &Value) {
    text(user, "user_id");
    one_of(user, "state", &["online", "away", "offline"]);
    time(user, "last_active");
}

/// An entry of `dialogs` in a `subscribe` reply or in `welcome.subscribed`.
#[track_caller]
pub(crate) fn subscribed(entry: &Value) {
    text(entry, "dialog_id");
    assert!(!entry["epoch"].is_null(), "the log's epoch: {entry}");
    number(entry, "offset");
    number(entry, "last_message_seq");
    number(entry, "read_seq");
    text(entry, "role");
}

/// Any event: its fields, and that resumable ones and only they carry a cursor.
#[track_caller]
pub(crate) fn event(event: &Value) {
    let kind = text(event, "type");
    match kind {
        "message_new" => {
            message(&event["message"]);
            assert_eq!(event["message"]["dialog_id"], event["dialog_id"], "{event}");
        }
        "receipt" => {
            text(event, "user_id");
            number(event, "read_seq");
        }
        "membership" => {
            text(event, "user_id");
            one_of(event, "change", &["added", "removed"]);
            one_of(event, "feed", &["dialog", "user"]);
        }
        "gap" => {
            assert!(!event["epoch"].is_null(), "a gap tells the epoch: {event}");
            number(event, "from_offset");
            number(event, "to_offset");
            one_of(event, "reason", &["trimmed", "log_reset", "too_far"]);
            flag(event, "messages_restored");
        }
        "typing" => {
            text(event, "user_id");
            one_of(event, "state", &["started", "stopped"]);
            number(event, "expires_in_ms");
        }
        "presence" => presence(event),
        "token_expiring" => {
            time(event, "expires_at");
        }
        "goaway" => {
            text(event, "reason");
            number(event, "reconnect_after_ms");
            flag(event, "resumable");
        }
        other => assert!(other.starts_with("x."), "no such event: {event}"),
    }
    let control = ["goaway", "token_expiring"].contains(&kind);
    // A gap of the user's own log belongs to no dialog.
    let of_no_dialog = kind == "gap" && event["feed"] == "user";
    if !control && !of_no_dialog {
        text(event, "dialog_id");
    }
    if control || ["typing", "presence"].contains(&kind) {
        assert!(event.get("cursor").is_none(), "only resumable events carry a cursor: {event}");
        return;
    }
    cursor(event);
    if event["restored"] == true {
        assert!(event.get("offset").is_none(), "a restored message has no offset: {event}");
    } else if kind != "gap" {
        assert!(number(event, "offset") >= 1, "{event}");
    }
}
