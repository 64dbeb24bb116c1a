//! Commands as clients write them, parsed into what the application understands.

use serde_json::Value;

use super::fields::{Fields, bad, malformed};
use super::strict;
use super::targets::{collect_targets, parse_hello_dialogs};
use crate::application::command::{Command, Targets};
use crate::application::ports::store::{HISTORY_PAGE_MAX, HistoryRange};
use crate::domain::body::{Attachment, MessageBody};
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::{ClientMessageId, DeviceId, MessageId};
use crate::domain::message::Draft;
use crate::domain::presence::{PresenceState, TypingState};
use crate::session::cursor::Cursor;
use crate::session::snapshot::SubscribeOptions;

/// Most commands in one batch.
pub const BATCH_COMMANDS_MAX: usize = 64;
/// Longest `ref`, in printable ASCII characters.
pub const REF_MAX_CHARS: usize = 64;
/// Messages on a page of history when the client doesn't say.
const HISTORY_DEFAULT: u64 = 50;

/// What a WebSocket's first frame asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// The credentials.
    pub token: Option<String>,
    /// The session to go on with.
    pub session: Option<String>,
    /// What the client has.
    pub cursor: Option<String>,
    /// The client's own count of its attaches.
    pub attach: Option<u64>,
    /// On which device a new session is.
    pub device_id: Option<DeviceId>,
    /// What a new session follows at once.
    pub dialogs: Option<Targets>,
}

/// What one frame or one element of a batch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The first frame of a WebSocket.
    Hello(Box<Hello>),
    /// Anything else.
    Command(Command),
}

/// A command with the `ref` that its reply echoes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The client's name for it.
    pub reference: Option<String>,
    /// What it says, or why it can't be understood.
    pub said: Result<Said, Refusal>,
}

/// Parses one frame.
#[must_use]
pub fn parse_frame(text: &[u8]) -> Parsed {
    match strict::parse(text) {
        Ok(value) => parse_value(value),
        Err(_) => Parsed { reference: None, said: Err(malformed()) },
    }
}

/// Parses a body of `POST /v1/commands`: one command, or an array of at most [`BATCH_COMMANDS_MAX`].
///
/// # Errors
/// A [`Refusal`] of the whole body; what is wrong with one command is in its own entry.
pub fn parse_batch(text: &[u8]) -> Result<Vec<Parsed>, Refusal> {
    match strict::parse(text) {
        Ok(Value::Array(values)) if values.len() > BATCH_COMMANDS_MAX => {
            Err(bad("a batch has more than 64 commands"))
        }
        Ok(Value::Array(values)) => Ok(values.into_iter().map(parse_value).collect()),
        Ok(value @ Value::Object(_)) => Ok(vec![parse_value(value)]),
        Ok(_) => Err(bad("the body is neither a command nor an array of commands")),
        Err(_) => Err(malformed()),
    }
}

fn parse_value(value: Value) -> Parsed {
    let Value::Object(mut fields) = value else {
        return Parsed { reference: None, said: Err(bad("a command is a JSON object")) };
    };
    let reference = match fields.remove("ref") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if is_reference(&text) => Some(text),
        Some(_) => {
            let said = Err(bad("ref is not 1 to 64 printable ASCII characters"));
            return Parsed { reference: None, said };
        }
    };
    let said = parse_said(Fields(fields));
    Parsed { reference, said }
}

fn is_reference(text: &str) -> bool {
    (1..=REF_MAX_CHARS).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

fn parse_said(mut fields: Fields) -> Result<Said, Refusal> {
    let kind = fields.string("type")?.ok_or_else(|| bad("type is missing"))?;
    let command = match kind.as_str() {
        "hello" => return Ok(Said::Hello(Box::new(parse_hello(fields)?))),
        "subscribe" => parse_subscribe(fields)?,
        "unsubscribe" => parse_unsubscribe(fields)?,
        "send_message" => Command::Send(parse_draft(fields)?),
        "typing" => {
            let state = match fields.required("state")?.as_str() {
                "started" => TypingState::Started,
                "stopped" => TypingState::Stopped,
                _ => return Err(bad("state is neither started nor stopped")),
            };
            Command::Typing { dialog_id: fields.dialog()?, state }
        }
        "read_upto" => {
            let seq = fields.integer("seq")?.ok_or_else(|| bad("seq is missing"))?;
            Command::ReadUpto { dialog_id: fields.dialog()?, seq }
        }
        "history" => parse_history(fields)?,
        "presence" => Command::Presence { dialog_id: fields.dialog()? },
        "status" => match fields.required("state")?.as_str() {
            "online" => Command::Status(PresenceState::Online),
            "away" => Command::Status(PresenceState::Away),
            _ => return Err(bad("state is neither online nor away")),
        },
        "ack" => {
            let cursor: Result<Cursor, _> = fields.required("cursor")?.parse();
            Command::Ack(cursor.map_err(|_| Refusal::new(ErrorCode::CursorInvalid, "not a cursor"))?)
        }
        "refresh" => Command::Refresh { token: fields.required("token")? },
        "ping" => Command::Ping,
        "bye" => Command::Bye,
        _ => return Err(Refusal::new(ErrorCode::UnknownType, "there is no command of this type")),
    };
    Ok(Said::Command(command))
}

fn parse_hello(mut fields: Fields) -> Result<Hello, Refusal> {
    Ok(Hello {
        token: fields.string("token")?,
        session: fields.string("session")?,
        cursor: fields.string("cursor")?,
        attach: fields.integer("attach")?,
        device_id: fields.string("device_id")?.map(|id| parse_device(&id)).transpose()?,
        dialogs: parse_hello_dialogs(fields.take("dialogs"))?,
    })
}

/// Parses a device id.
///
/// # Errors
/// `bad_request` for a malformed one.
pub fn parse_device(text: &str) -> Result<DeviceId, Refusal> {
    DeviceId::parse(text).map_err(|_| bad("device_id is malformed"))
}

fn parse_subscribe(mut fields: Fields) -> Result<Command, Refusal> {
    let options = SubscribeOptions {
        presence: fields.boolean("presence")?.unwrap_or(false),
        typing: fields.boolean("typing")?.unwrap_or(true),
    };
    let targets = if fields.boolean("all")?.unwrap_or(false) {
        Targets::All
    } else {
        let (targets, failed) = collect_targets(fields.dialogs()?);
        Targets::Dialogs(targets, failed)
    };
    Ok(Command::Subscribe { targets, options })
}

fn parse_unsubscribe(mut fields: Fields) -> Result<Command, Refusal> {
    if fields.boolean("all")?.unwrap_or(false) {
        return Ok(Command::Unsubscribe(None));
    }
    let (targets, failed) = collect_targets(fields.dialogs()?);
    if !failed.is_empty() {
        return Err(bad("dialogs has a malformed id"));
    }
    Ok(Command::Unsubscribe(Some(targets.into_iter().map(|target| target.dialog_id).collect())))
}

fn parse_draft(mut fields: Fields) -> Result<Draft, Refusal> {
    let client_message_id = ClientMessageId::parse(&fields.required("client_message_id")?)
        .map_err(|_| bad("client_message_id is malformed"))?;
    let reply_to = match fields.string("reply_to")? {
        Some(id) => Some(MessageId::parse(&id).map_err(|_| bad("reply_to is malformed"))?),
        None => None,
    };
    let Some(Value::Object(body)) = fields.take("body") else {
        return Err(bad("body is not an object"));
    };
    let mut body = Fields(body);
    let text = body.string("text")?.unwrap_or_default();
    let attachments = match body.take("attachments") {
        None => Vec::new(),
        Some(Value::Array(values)) => values.into_iter().map(parse_attachment).collect::<Result<_, _>>()?,
        Some(_) => return Err(bad("attachments is not an array")),
    };
    let body = MessageBody::new(text, attachments).map_err(|why| bad(body_problem(why)))?;
    Ok(Draft { dialog_id: fields.dialog()?, client_message_id, body, reply_to })
}

fn body_problem(why: crate::domain::body::InvalidBody) -> String {
    why.to_string()
}

fn parse_attachment(value: Value) -> Result<Attachment, Refusal> {
    let Value::Object(fields) = value else { return Err(bad("an attachment is not an object")) };
    let mut fields = Fields(fields);
    Ok(Attachment {
        id: fields.required("id")?,
        name: fields.required("name")?,
        mime: fields.required("mime")?,
        size: fields.integer("size")?.ok_or_else(|| bad("an attachment has no size"))?,
        url: fields.string("url")?,
    })
}

fn parse_history(mut fields: Fields) -> Result<Command, Refusal> {
    let range = match (fields.integer("before_seq")?, fields.integer("after_seq")?) {
        (Some(_), Some(_)) => return Err(bad("history takes before_seq or after_seq, not both")),
        (Some(seq), None) => HistoryRange::Before(seq),
        (None, Some(seq)) => HistoryRange::After(seq),
        (None, None) => HistoryRange::Newest,
    };
    let limit = fields.integer("limit")?.unwrap_or(HISTORY_DEFAULT).min(u64::from(HISTORY_PAGE_MAX));
    let limit = u32::try_from(limit).unwrap_or(HISTORY_PAGE_MAX);
    Ok(Command::History { dialog_id: fields.dialog()?, range, limit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::DialogId;

    fn command(text: &str) -> Result<Command, ErrorCode> {
        match parse_frame(text.as_bytes()).said {
            Ok(Said::Command(command)) => Ok(command),
            Ok(Said::Hello(_)) => panic!("a hello"),
            Err(refusal) => {
                assert!(!refusal.message.contains("SECRET"), "the input is echoed: {refusal}");
                Err(refusal.code)
            }
        }
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_types_named() {
        assert_eq!(command(r#"{"type":"ping","future":[1]}"#), Ok(Command::Ping));
        assert_eq!(command(r#"{"type":"SECRET"}"#), Err(ErrorCode::UnknownType));
    }

    #[test]
    fn what_is_malformed_is_a_bad_request_and_nothing_is_echoed() {
        for bad in [
            "",
            "SECRET",
            "[]",
            "1",
            r#"{"ref":"a"}"#,
            r#"{"type":1}"#,
            r#"{"type":"ping","type":"ping"}"#,
            r#"{"type":"ping","ref":""}"#,
            r#"{"type":"ping","ref":"é"}"#,
            r#"{"type":"ping","ref":7}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","dialogs":"d"}"#,
            r#"{"type":"typing","dialog_id":"SECRET!","state":"started"}"#,
            r#"{"type":"typing","dialog_id":"d","state":"SECRET"}"#,
            r#"{"type":"read_upto","dialog_id":"d"}"#,
            r#"{"type":"read_upto","dialog_id":"d","seq":-1}"#,
            r#"{"type":"read_upto","dialog_id":"d","seq":1.5}"#,
            r#"{"type":"read_upto","dialog_id":"d","seq":9007199254740993}"#,
            r#"{"type":"read_upto","dialog_id":"d","seq":99999999999999999999}"#,
            r#"{"type":"history","dialog_id":"d","before_seq":1,"after_seq":1}"#,
            r#"{"type":"send_message","dialog_id":"d","client_message_id":"c"}"#,
            r#"{"type":"send_message","dialog_id":"d","client_message_id":"c","body":{}}"#,
            r#"{"type":"send_message","dialog_id":"d","client_message_id":"c","body":{"text":"\u0000"}}"#,
            r#"{"type":"send_message","dialog_id":"d","client_message_id":"..","body":{"text":"x"}}"#,
        ] {
            assert_eq!(command(bad), Err(ErrorCode::BadRequest), "{bad}");
        }
        assert_eq!(command(r#"{"type":"ack","cursor":"SECRET"}"#), Err(ErrorCode::CursorInvalid));
    }

    #[test]
    fn the_limit_of_history_is_clamped() {
        let range = HistoryRange::Newest;
        let dialog_id = DialogId::parse("d").unwrap();
        assert_eq!(
            command(r#"{"type":"history","dialog_id":"d","limit":100000}"#),
            Ok(Command::History { dialog_id, range, limit: 200 })
        );
    }

    #[test]
    fn a_batch_is_one_command_or_at_most_64() {
        assert_eq!(parse_batch(br#"{"type":"ping"}"#).unwrap().len(), 1);
        let batch = |n: usize| format!("[{}]", vec![r#"{"type":"ping"}"#; n].join(","));
        assert_eq!(parse_batch(batch(64).as_bytes()).unwrap().len(), 64);
        assert!(parse_batch(batch(65).as_bytes()).is_err());
        assert!(parse_batch(b"1").is_err());
        assert!(parse_batch(b"[1]").unwrap()[0].said.is_err());
    }
}
