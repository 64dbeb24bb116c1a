//! Bytes on a bare TCP connection: what no client library would send, and what it would hide of the answer.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::json::strict;
use super::runner::within;
use super::stage::Stage;

/// Longest answer that is read.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A connection that is written and read by hand.
#[derive(Debug)]
pub(crate) struct RawConnection {
    stream: TcpStream,
    host: String,
    read: Vec<u8>,
}

/// An HTTP/1.1 answer as it stood on the wire.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl RawAnswer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        strict(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl RawConnection {
    pub(crate) async fn open(stage: &Stage) -> Self {
        let address = stage.server().address();
        let stream = within("a TCP connection", TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|e| panic!("no TCP connection to {address}: {e}"));
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        Self { stream, host: address.to_string(), read: Vec::new() }
    }

    /// Writes a request line and header lines; `Host` is added.
    pub(crate) async fn request(&mut self, line: &str, headers: &[(&str, &str)]) {
        let mut head = format!("{line} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes()).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let written = within("bytes to be written", self.stream.write_all(bytes)).await;
        written.unwrap_or_else(|e| panic!("bytes could not be written: {e}"));
    }

    /// Writes as far as the other side lets it.
    pub(crate) async fn write_if_open(&mut self, bytes: &[u8]) {
        // What is wanted of it is what is read afterwards.
        let _ = within("bytes to be written", self.stream.write_all(bytes)).await;
    }

    /// Resets the connection: whatever was not read is lost, and the other side learns it at once.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().expect("SO_LINGER can be set");
    }

    /// Waits until something can be read, without reading it.
    pub(crate) async fn wait_readable(&self) {
        let mut byte = [0];
        let peeked = within("the first byte of the answer", self.stream.peek(&mut byte)).await;
        assert_eq!(peeked.expect("the connection is open"), 1, "the connection ended without an answer");
    }

    /// Reads one answer; the body by its `Content-Length`.
    pub(crate) async fn answer(&mut self) -> RawAnswer {
        within("an HTTP answer", async {
            let head_end = loop {
                if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                    break at;
                }
                assert!(self.fill().await, "the connection ended in an answer's head: {:?}", self.read);
            };
            let head = String::from_utf8(self.read.drain(..head_end + 4).collect()).expect("a head is ASCII");
            let mut lines = head.trim_end().split("\r\n");
            let status_line = lines.next().unwrap_or_default();
            let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
            let status = status.unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let mut answer = RawAnswer { status, headers, body: String::new() };
            if status == 101 {
                return answer;
            }
            let length: usize = answer.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
            while self.read.len() < length {
                assert!(self.fill().await, "the connection ended in an answer's body");
            }
            answer.body = String::from_utf8(self.read.drain(..length).collect()).expect("a body is UTF-8");
            answer
        })
        .await
    }

    /// Reads WebSocket frames until the close frame and gives its code; text and control frames are passed over, and
    /// nothing is ever answered. `None` if the connection ends without one.
    pub(crate) async fn close_code(&mut self, what: &str, patience: Duration) -> Option<u16> {
        let reading = async {
            loop {
                let (opcode, payload) = self.server_frame().await?;
                if opcode == OPCODE_CLOSE {
                    return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                }
            }
        };
        tokio::time::timeout(patience, reading)
            .await
            .unwrap_or_else(|_| panic!("waited {} s for the close frame after {what}", patience.as_secs()))
    }

    /// One unmasked frame (RFC 6455 §5.2).
    async fn server_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((opcode, start, length)) = frame_head(&self.read)
                && self.read.len() >= start + length
            {
                let payload = self.read[start..start + length].to_vec();
                self.read.drain(..start + length);
                return Some((opcode, payload));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        assert!(self.read.len() < ANSWER_BYTES, "more than {ANSWER_BYTES} bytes of an answer");
        let mut piece = [0; 4096];
        // A reset after the last byte is an end like any other.
        let count = self.stream.read(&mut piece).await.unwrap_or(0);
        self.read.extend_from_slice(&piece[..count]);
        count > 0
    }
}

pub(crate) const OPCODE_CONTINUATION: u8 = 0x0;
pub(crate) const OPCODE_TEXT: u8 = 0x1;
pub(crate) const OPCODE_CLOSE: u8 = 0x8;
pub(crate) const OPCODE_PING: u8 = 0x9;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

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

/// A frame as a client writes it, masked with zeros (which leaves the payload as it is).
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_claiming(FIN | opcode, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

/// The same, but more fragments follow.
pub(crate) fn client_fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_claiming(opcode, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

/// The head of a masked frame with this first byte and length, without its payload.
pub(crate) fn frame_claiming(first_byte: u8, length: u64) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_written_as_the_standard_says() {
        assert_eq!(client_frame(OPCODE_TEXT, b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(client_fragment(OPCODE_TEXT, b"")[..2], [0x01, 0x80]);
        assert_eq!(frame_claiming(0x81, 126)[..4], [0x81, 0xfe, 0, 126]);
        assert_eq!(frame_claiming(0x81, 65_536)[..10], [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_frames_head_is_read_in_all_three_lengths() {
        assert_eq!(frame_head(&[0x81, 5]), Some((OPCODE_TEXT, 2, 5)));
        assert_eq!(frame_head(&[0x88, 126, 1, 0]), Some((OPCODE_CLOSE, 4, 256)));
        assert_eq!(frame_head(&[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]), Some((OPCODE_TEXT, 10, 65_536)));
        assert_eq!(frame_head(&[0x81, 126, 1]), None);
        assert_eq!(frame_head(&[0x81]), None);
    }
}
