//! What is fuzzed, and what must hold whatever comes: one function a target, for `fuzz/` and for the tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgeway::adapters::inbound::sse;
use edgeway::adapters::inbound::websocket::deflate;
use edgeway::adapters::inbound::websocket::reader::{Decoder, MessageLimits};
use edgeway::adapters::inbound::wire::commands::{parse_batch, parse_frame};
use edgeway::adapters::inbound::wire::events::{JsonCodec, write_prefix};
use edgeway::adapters::inbound::wire::strict;
use edgeway::adapters::outbound::auth::token::UnverifiedToken;
use edgeway::adapters::outbound::redis::payload;
use edgeway::application::ports::bus::{LivePayload, LogEntry};
use edgeway::application::ports::codec::EventCodec;
use edgeway::domain::event::Event;
use edgeway::domain::ids::{DialogId, FeedKey, SessionId, UserId};
use edgeway::domain::time::{Tick, UnixMillis};
use edgeway::session::cursor::{CURSOR_MAX_CHARS, Cursor};
use serde_json::value::RawValue;

use self::sse_parser::SseParser;

#[path = "../transports/harness/sse_parser.rs"]
mod sse_parser;

/// A message of a WebSocket, before it is inflated and after.
const MESSAGE_MAX_BYTES: u32 = 4096;

/// Commands, alone and as a batch. What the strict reader takes, any reader of JSON takes for the same.
pub(crate) fn clients_json(input: &[u8]) {
    let _ = parse_frame(input);
    let _ = parse_batch(input);
    if let Ok(value) = strict::parse(input) {
        let plain: serde_json::Value = serde_json::from_slice(input).expect("strict is stricter");
        assert_eq!(value, plain);
    }
}

/// A cursor that is read is written as it came.
pub(crate) fn cursor(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
        assert!(text.len() <= CURSOR_MAX_CHARS);
    }
}

/// A live channel's message: its header line, and the event behind it.
pub(crate) fn live_payload(input: &[u8]) {
    match payload::parse(Bytes::copy_from_slice(input)) {
        LivePayload::Logged(entry) => {
            assert!(entry.offset > 0 && payload::is_epoch(&entry.epoch));
            read_event(&entry);
        }
        LivePayload::Ephemeral(json) => {
            for feed in feeds() {
                if let Ok(event) = JsonCodec.decode_ephemeral(&feed, &json) {
                    check_event(&event);
                }
            }
        }
        LivePayload::Garbage(_) => {}
        LivePayload::Interrupted => panic!("no payload says so"),
    }
}

/// An entry of a log, as a client would see it.
pub(crate) fn logged_event(input: &[u8]) {
    let json = Bytes::copy_from_slice(input);
    read_event(&LogEntry { epoch: "e".into(), offset: 7, at: UnixMillis(5), json });
}

fn read_event(entry: &LogEntry) {
    for feed in feeds() {
        if let Ok(event) = JsonCodec.decode_logged(&feed, entry) {
            check_event(&event);
        }
    }
}

fn feeds() -> [FeedKey; 2] {
    [FeedKey::Dialog(DialogId::parse("d").unwrap()), FeedKey::User(UserId::parse("ann").unwrap())]
}

/// What goes out is one JSON object on one line (server-sent events are made of lines), with the node's own cursor in it.
fn check_event(event: &Event) {
    let cursor = Cursor { epoch: 1, number: 2, watermark: UnixMillis(3) };
    let mut sent = Vec::new();
    write_prefix(Some(&cursor.text()), &mut sent);
    sent.extend_from_slice(&event.body);
    assert!(!sent.contains(&b'\n') && !sent.contains(&b'\r'), "more than one line: {sent:?}");
    let text = std::str::from_utf8(&sent).expect("events are UTF-8");
    // Values are skipped, not read: a number that no double holds is JSON all the same (RFC 8259 §6), and what an
    // application puts into its events is not Edgeway's to judge.
    let told: BTreeMap<String, &RawValue> = serde_json::from_str(text).expect("events are JSON");
    assert_eq!(told["cursor"].get(), format!("\"{cursor}\""), "the cursor is the node's: {text}");
    assert!(told["type"].get().starts_with('"'), "{text}");
}

/// An event in an event stream, logged or not: one block, whose data is the event and whose id is the session's place.
pub(crate) fn streamed_event(input: &[u8]) {
    let json = Bytes::copy_from_slice(input);
    let session = SessionId::parse("s0123456789abcdef").unwrap();
    let cursor = Cursor { epoch: 1, number: 2, watermark: UnixMillis(3) };
    let entry = LogEntry { epoch: "e".into(), offset: 7, at: UnixMillis(5), json: json.clone() };
    for feed in feeds() {
        let logged = JsonCodec.decode_logged(&feed, &entry).map(|event| (Some(&cursor), event));
        let ephemeral = JsonCodec.decode_ephemeral(&feed, &json).map(|event| (None, event));
        for (cursor, event) in logged.into_iter().chain(ephemeral) {
            let mut stream = SseParser::default();
            let mut written = Vec::new();
            sse::write_event(&session, cursor, &event, &mut written);
            // What follows must not be taken for a part of it.
            written.extend_from_slice(b"data: next\n\n");
            stream.feed(&written);
            let block = stream.next_block().expect("a well-formed block").expect("a whole block");
            let mut expected = Vec::new();
            write_prefix(cursor.map(Cursor::text).as_ref(), &mut expected);
            expected.extend_from_slice(&event.body);
            assert_eq!(block.data.map(String::into_bytes), Some(expected));
            assert_eq!(block.id, cursor.map(|cursor| format!("{}~{cursor}", session.as_str())));
            let next = stream.next_block().expect("a well-formed block").expect("another block");
            assert_eq!((next.data.as_deref(), next.id), (Some("next"), None));
            assert!(stream.rest().is_empty());
        }
    }
}

/// `Last-Event-ID`: what it names goes no further than to be looked up.
pub(crate) fn last_event_id(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some((session, cursor)) = sse::parse_event_id(text) {
        let written = cursor.map_or_else(|| session.clone(), |cursor| format!("{session}~{cursor}"));
        assert_eq!(written, text);
    }
}

/// A token, before anything of it is verified.
pub(crate) fn token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(token) = UnverifiedToken::parse(text) {
        assert_eq!(format!("{}.{}", token.signed, token.signature), text);
        let _ = token.claims();
    }
}

/// A client's bytes: however they are cut, they say the same, and no more is held than has come.
pub(crate) fn websocket_frames(input: &[u8]) {
    say_the_same_however_cut(input, false);
}

/// The same with frames that may be compressed.
pub(crate) fn compressed_frames(input: &[u8]) {
    say_the_same_however_cut(input, true);
}

fn say_the_same_however_cut(input: &[u8], inflates: bool) {
    let decode = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut decoder = Decoder::new(MessageLimits::of_bytes(MESSAGE_MAX_BYTES));
        if inflates {
            decoder.inflate();
        }
        let mut said = Vec::new();
        for mut piece in pieces {
            loop {
                match decoder.decode(&mut piece, Tick(0)) {
                    Ok(Some(incoming)) => said.push(format!("{incoming:?}")),
                    Ok(None) => break,
                    Err(violation) => {
                        said.push(format!("{violation:?}"));
                        return said;
                    }
                }
            }
        }
        said
    };
    let whole = decode(&mut std::iter::once(input));
    assert_eq!(whole, decode(&mut input.chunks(1)), "byte by byte");
    for size in [2, 3, 5, 7, 64] {
        assert_eq!(whole, decode(&mut input.chunks(size)), "in pieces of {size}");
    }
}

/// A compressed message: what comes out of it is bounded, and comes out again when it is compressed by ourselves, alone or
/// behind a stored block.
pub(crate) fn inflated(input: &[u8]) {
    let max_bytes = MESSAGE_MAX_BYTES as usize;
    let plain = match deflate::inflate(input, max_bytes) {
        Ok(plain) => plain,
        Err(violation) => {
            assert!(matches!(violation.close_code, 1007 | 1009), "{violation:?}");
            return there_and_back(input);
        }
    };
    assert!(plain.len() <= max_bytes, "{} bytes", plain.len());
    there_and_back(&plain);
    there_and_back(input);
}

fn there_and_back(plain: &[u8]) {
    const PREFIX: &[u8] = b"{\"cursor\":\"1.2.3\",";
    if let Some(compressed) = deflate::deflate(plain) {
        assert!(compressed.len() < plain.len());
        assert_eq!(deflate::inflate(&compressed, plain.len()).as_deref(), Ok(plain));
        if let Some(less) = plain.len().checked_sub(1) {
            let cut = deflate::inflate(&compressed, less);
            assert_eq!(cut.map_err(|violation| violation.close_code), Err(1009), "more than is allowed");
        }
        let mut behind = Vec::new();
        deflate::write_stored(PREFIX, &mut behind);
        behind.extend_from_slice(&compressed);
        let whole = [PREFIX, plain].concat();
        assert_eq!(deflate::inflate(&behind, whole.len()), Ok(whole));
    }
}
