//! What comes over a live channel: one header line, then the event.
//!
//! `<epoch> <offset> <id>` heads what is in the log, `-` what no log holds. Anybody who reaches the server can publish
//! here, so nothing is believed that does not look exactly so.

use bytes::Bytes;

use super::stream_id;
use crate::application::ports::bus::{EVENT_MAX_BYTES, LivePayload, LogEntry};
use crate::application::ports::codec::Undecodable;

/// Longest epoch, in bytes: the script's own have 16, and other Stores may prefer a UUID.
pub const EPOCH_MAX_BYTES: usize = 64;
/// Largest offset: beyond it, the numbers of Lua and of browsers are no longer exact.
pub const OFFSET_MAX: u64 = (1 << 53) - 1;
/// Longest header line: epoch, offset and id with their spaces.
const HEADER_MAX_BYTES: usize = EPOCH_MAX_BYTES + 1 + 16 + 1 + stream_id::MAX_BYTES;
/// The header of what no log holds.
const EPHEMERAL: &[u8] = b"-";

/// Reads a message of a live channel.
#[must_use]
pub fn parse(message: Bytes) -> LivePayload {
    let line = message.iter().take(HEADER_MAX_BYTES + 1).position(|byte| *byte == b'\n');
    let Some(line) = line else { return LivePayload::Garbage(Undecodable::WrongHeader) };
    let json = message.slice(line + 1..);
    if json.len() > EVENT_MAX_BYTES {
        return LivePayload::Garbage(Undecodable::TooLarge);
    }
    let header = &message[..line];
    if header == EPHEMERAL {
        return LivePayload::Ephemeral(json);
    }
    match logged(header, json) {
        Some(entry) => LivePayload::Logged(entry),
        None => LivePayload::Garbage(Undecodable::WrongHeader),
    }
}

/// An ephemeral event as it is published.
#[must_use]
pub fn ephemeral(json: &[u8]) -> Vec<u8> {
    [EPHEMERAL, b"\n", json].concat()
}

/// Whether a text can be the name of a log's generation.
#[must_use]
pub fn is_epoch(text: &str) -> bool {
    (1..=EPOCH_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// An offset: decimal digits, no sign, no leading zero, 1 to [`OFFSET_MAX`].
#[must_use]
pub fn offset(text: &str) -> Option<u64> {
    stream_id::number(text).filter(|offset| (1..=OFFSET_MAX).contains(offset))
}

fn logged(header: &[u8], json: Bytes) -> Option<LogEntry> {
    let mut parts = std::str::from_utf8(header).ok()?.split(' ');
    let (epoch, number, id) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !is_epoch(epoch) {
        return None;
    }
    Some(LogEntry { epoch: epoch.into(), offset: offset(number)?, at: stream_id::time(id)?, json })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::time::UnixMillis;

    fn parsed(message: &str) -> LivePayload {
        parse(Bytes::copy_from_slice(message.as_bytes()))
    }

    #[test]
    fn a_header_line_heads_a_logged_event() {
        let entry = LogEntry {
            epoch: "9f2c".into(),
            offset: 17,
            at: UnixMillis(1_785_000_000_120),
            json: Bytes::from_static(b"{\"type\":\"x.a\"}\n"),
        };
        assert_eq!(parsed("9f2c 17 1785000000120-3\n{\"type\":\"x.a\"}\n"), LivePayload::Logged(entry));
    }

    #[test]
    fn a_dash_heads_an_ephemeral_event() {
        assert_eq!(parsed("-\n{}"), LivePayload::Ephemeral(Bytes::from_static(b"{}")));
        assert_eq!(parse(ephemeral(b"{}").into()), LivePayload::Ephemeral(Bytes::from_static(b"{}")));
    }

    #[test]
    fn any_other_header_line_is_garbage() {
        let long = format!("{} 1 1-0\n{{}}", "e".repeat(EPOCH_MAX_BYTES + 1));
        for message in [
            "",
            "{}",
            "\n{}",
            "- \n{}",
            "--\n{}",
            "e 1\n{}",
            "e 1 1-0 \n{}",
            "e  1 1-0\n{}",
            " e 1 1-0\n{}",
            "e 0 1-0\n{}",
            "e 01 1-0\n{}",
            "e +1 1-0\n{}",
            "e -1 1-0\n{}",
            "e 1e3 1-0\n{}",
            "e 9007199254740992 1-0\n{}",
            "e 99999999999999999999 1-0\n{}",
            "e 1 1\n{}",
            "e 1 1-\n{}",
            "e 1 -1\n{}",
            "e 1 1-0-0\n{}",
            "e 1 18446744073709551616-0\n{}",
            "\u{e9} 1 1-0\n{}",
            "e\t1\t1-0\n{}",
            &long,
        ] {
            assert_eq!(parsed(message), LivePayload::Garbage(Undecodable::WrongHeader), "{message:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_garbage_whatever_its_header() {
        for header in ["-\n", "e 1 1-0\n", "?\n"] {
            let message = format!("{header}{}", " ".repeat(EVENT_MAX_BYTES + 1));
            assert_eq!(parsed(&message), LivePayload::Garbage(Undecodable::TooLarge));
        }
        assert_eq!(parsed(&"x".repeat(2 << 20)), LivePayload::Garbage(Undecodable::WrongHeader));
        let largest = format!("e 1 1-0\n{}", " ".repeat(EVENT_MAX_BYTES));
        assert!(matches!(parsed(&largest), LivePayload::Logged(_)));
    }

    proptest! {
        #[test]
        fn no_message_panics(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(message.into());
        }
    }
}
