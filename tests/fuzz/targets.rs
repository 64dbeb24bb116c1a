//! What is fuzzed, and what must hold whatever comes: one function a target, for `fuzz/` and for the tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgeway::adapters::inbound::sse;
use edgeway::adapters::inbound::websocket::reader::{Decoder, MessageLimits};
use edgeway::adapters::inbound::wire::commands::{parse_batch, parse_frame};
use edgeway::adapters::inbound::wire::events::{JsonCodec, write_prefix};
use edgeway::adapters::inbound::wire::strict;
use edgeway::adapters::outbound::auth::token::UnverifiedToken;
use edgeway::adapters::outbound::redis::payload;
use edgeway::application::ports::bus::{LivePayload, LogEntry};
use edgeway::application::ports::codec::EventCodec;
use edgeway::domain::event::Event;
use edgeway::domain::ids::{DialogId, FeedKey, UserId};
use edgeway::domain::time::{Tick, UnixMillis};
use edgeway::session::cursor::{CURSOR_MAX_CHARS, Cursor};
use serde_json::value::RawValue;

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
    write_prefix(Some(&cursor), &mut sent);
    sent.extend_from_slice(&event.body);
    assert!(!sent.contains(&b'\n') && !sent.contains(&b'\r'), "more than one line: {sent:?}");
    let text = std::str::from_utf8(&sent).expect("events are UTF-8");
    // Values are skipped, not read: a number that no double holds is JSON all the same (RFC 8259 §6), and what an
    // application puts into its events is not Edgeway's to judge.
    let told: BTreeMap<String, &RawValue> = serde_json::from_str(text).expect("events are JSON");
    assert_eq!(told["cursor"].get(), format!("\"{cursor}\""), "the cursor is the node's: {text}");
    assert!(told["type"].get().starts_with('"'), "{text}");
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
    const LIMITS: MessageLimits = MessageLimits::of_bytes(4096);
    let decode = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut decoder = Decoder::new(LIMITS);
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
