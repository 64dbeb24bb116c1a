//! WebSocket frames by hand (RFC 6455 §5.2).

use std::time::Duration;

use serde_json::Value;

use super::answer::is_error;
use super::line::{Line, SOON};

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Longest that a server may take to hang up after its close frame: its own limit is 2 s.
pub(crate) const HANG_UP: Duration = Duration::from_secs(4);

/// A frame as a client writes it, masked with zeros (which leaves the payload as it is).
pub(crate) fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    fragment(FIN | opcode, payload)
}

/// A frame with this first byte.
pub(crate) fn fragment(first_byte: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [claim(first_byte, payload.len() as u64).as_slice(), payload].concat()
}

/// The head of a masked frame with this first byte and length, without its payload.
pub(crate) fn claim(first_byte: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first_byte];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => head.push(MASKED | length),
        (_, Ok(length)) => {
            head.push(MASKED | 126);
            head.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            head.push(MASKED | 127);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    head.extend_from_slice(&[0; 4]);
    head
}

impl Line {
    pub(crate) async fn say(&mut self, command: &Value) {
        self.write(frame(TEXT, command.to_string())).await;
    }

    /// The next text frame, as JSON.
    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            let (opcode, payload) = self.frame_within(SOON).await;
            match opcode {
                TEXT => return serde_json::from_slice(&payload).expect("text is JSON"),
                CLOSE => panic!("closed: {payload:?}"),
                _ => {}
            }
        }
    }

    /// The next text frame that answers this `ref`, or any error.
    pub(crate) async fn hear_answer(&mut self) -> Value {
        loop {
            let heard = self.hear().await;
            if heard["type"] == "error" || heard.get("ref").is_some() {
                return heard;
            }
        }
    }

    /// The close frame comes with this code; before it other frames may, and after it the server hangs up.
    pub(crate) async fn is_closed_with(&mut self, code: u16) {
        loop {
            let (opcode, payload) = self.frame_within(SOON).await;
            if opcode == CLOSE {
                let said = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                assert_eq!(said, Some(code), "{}", String::from_utf8_lossy(&payload[2..]));
                // Answered, as RFC 6455 §5.5.1 wants it: else the server waits for it a while.
                self.write(frame(CLOSE, code.to_be_bytes())).await;
                return self.is_closed(HANG_UP).await;
            }
        }
    }

    /// An error frame, and its close code.
    pub(crate) async fn is_refused_and_closed(&mut self, code: &str, close: u16) {
        is_error(&self.hear().await, code);
        self.is_closed_with(close).await;
    }

    async fn frame_within(&mut self, within: Duration) -> (u8, Vec<u8>) {
        let next = tokio::time::timeout(within, self.next_frame()).await.expect("a frame comes");
        next.unwrap_or_else(|| panic!("the line ended without a close frame"))
    }

    /// One unmasked frame.
    async fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let read = self.unread();
            if let Some((opcode, start, length)) = frame_head(read)
                && read.len() >= start + length
            {
                let payload = read[start..start + length].to_vec();
                read.drain(..start + length);
                return Some((opcode, payload));
            }
            if !self.fill().await {
                return None;
            }
        }
    }
}

/// Opcode, where the payload begins, and its length.
fn frame_head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, second, rest @ ..] = bytes else { return None };
    assert_eq!(second & MASKED, 0, "a server never masks");
    let (start, length) = match second & !MASKED {
        126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).expect("a length fits")),
        length => (2, usize::from(length)),
    };
    Some((first & 0x0f, start, length))
}
