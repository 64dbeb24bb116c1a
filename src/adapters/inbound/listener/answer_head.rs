//! What stands around the body of an answer (RFC 9112 §4 to §7).

use std::io::Write;
use std::time::SystemTime;

use axum::body::Body;
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::response::Parts;
use http_body::Body as _;

/// What a chunk takes beside its data, at most, and what ends the last.
const CHUNK_BYTES: usize = 32;

/// How a body is told from what follows it (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// By its length; so much of it is still to come.
    Length(u64),
    /// In chunks.
    Chunked,
}

impl Framing {
    pub(super) fn of(status: StatusCode, body: &Body) -> Self {
        if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Self::None;
        }
        body.size_hint().exact().map_or(Self::Chunked, Self::Length)
    }

    /// Whether nothing follows the head.
    pub(super) fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }

    /// Writes a piece of the body.
    pub(super) fn write(&mut self, data: &[u8], out: &mut Vec<u8>) -> Written {
        match self {
            Self::Length(left) => {
                let Some(rest) = left.checked_sub(data.len() as u64) else { return Written::Broken };
                out.extend_from_slice(data);
                *left = rest;
                if rest == 0 { Written::All } else { Written::More }
            }
            // An empty chunk would be the last.
            Self::Chunked if !data.is_empty() => {
                out.reserve(data.len() + CHUNK_BYTES);
                write!(out, "{:x}\r\n", data.len()).expect("a Vec takes all");
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
                Written::More
            }
            Self::Chunked | Self::None => Written::More,
        }
    }

    /// Writes what ends the body.
    pub(super) fn end(self, out: &mut Vec<u8>) -> Written {
        match self {
            Self::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
            Self::Length(0) | Self::None => {}
            Self::Length(_) => return Written::Broken,
        }
        Written::All
    }
}

/// A chunk of which nobody knows yet how long it will be (RFC 9112 §7.1).
pub(super) struct Chunk {
    start: usize,
}

/// The size of a chunk, to be overwritten: zeros in front are allowed.
const UNKNOWN_SIZE: &[u8] = b"00000000\r\n";

impl Chunk {
    /// What is appended from now on is the chunk's data.
    pub(super) fn begin(out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(UNKNOWN_SIZE);
        Self { start }
    }

    /// All of its data has been appended. An empty chunk would be the last: it is taken back.
    pub(super) fn end(self, out: &mut Vec<u8>) {
        let mut size = out.len() - self.start - UNKNOWN_SIZE.len();
        if size == 0 {
            return out.truncate(self.start);
        }
        for digit in out[self.start..self.start + UNKNOWN_SIZE.len() - 2].iter_mut().rev() {
            *digit = b"0123456789abcdef"[size % 16];
            size /= 16;
        }
        debug_assert_eq!(size, 0, "what is written at once is short");
        out.extend_from_slice(b"\r\n");
    }
}

/// How far a body has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// There may be more.
    More,
    /// To its end.
    All,
    /// It is not as long as was said.
    Broken,
}

/// Writes the head of an answer. What concerns the connection alone is up to who writes it: of that nothing is taken from
/// `head`, unless it is an upgrade.
pub(super) fn write_head(head: &Parts, framing: Framing, closes: bool, out: &mut Vec<u8>) {
    let reason = head.status.canonical_reason().unwrap_or("");
    write!(out, "HTTP/1.1 {} {reason}\r\n", head.status.as_str()).expect("a Vec takes all");
    let upgrades = head.status == StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in &head.headers {
        let framed = *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING || *name == DATE;
        if !framed && (upgrades || *name != CONNECTION) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
    match framing {
        Framing::None => {}
        Framing::Length(length) => write!(out, "content-length: {length}\r\n").expect("a Vec takes all"),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if closes && !upgrades {
        out.extend_from_slice(b"connection: close\r\n");
    }
    // RFC 9110 §6.6.1.
    #[expect(clippy::disallowed_methods, reason = "it is for people; nothing here is decided by it")]
    let date = httpdate::HttpDate::from(SystemTime::now());
    write!(out, "date: {date}\r\n\r\n").expect("a Vec takes all");
}
