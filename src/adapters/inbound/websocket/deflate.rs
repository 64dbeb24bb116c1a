//! permessage-deflate (RFC 7692) without context takeover: nothing is kept from one message to the next, so a
//! connection holds no window, and what is sent to many is compressed once.
//!
//! A message for many is a prefix of the connection's own and a shared body. The prefix goes in front as a *stored*
//! block (RFC 1951 §3.2.4), which ends at a byte; the body's blocks follow. They never look back beyond their own
//! beginning, so it does not matter to them what stands before.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderValue};
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};

use super::close::{INVALID_PAYLOAD, MESSAGE_TOO_BIG, Violation};

/// Shorter messages are sent as they are: there is little to be gained.
pub const DEFLATE_FROM_BYTES: usize = 256;
/// Most bytes of bodies, plain and compressed, that are remembered as compressed already.
pub const SHARED_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// About how many bodies that is.
const SHARED_BODIES: usize = 8 * 1024;
/// What a peer takes off the end of each message, and puts back (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// A stored block's header: not the last one, its length, and that inverted.
const STORED_HEADER_BYTES: usize = 5;
/// By so much the room for what is inflated grows.
const INFLATE_STEP_BYTES: usize = 16 * 1024;

/// The answer to an offer. `None`: there is none that can be taken, which is no reason to refuse the connection.
///
/// A smaller window than 32 KiB would need blocks of its own, so it is not taken. A client may keep its own window
/// small: what it sends can be inflated all the same.
#[must_use]
pub fn negotiate(headers: &HeaderMap) -> Option<HeaderValue> {
    let values =
        headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(answer)
}

fn answer(offer: &str) -> Option<HeaderValue> {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next() != Some("permessage-deflate") {
        return None;
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut window_told = false;
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        match (name, value) {
            (
                "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                None,
            ) => {}
            ("client_max_window_bits", Some(bits)) if is_window(bits) => {}
            ("server_max_window_bits", Some("15")) => window_told = true,
            _ => return None,
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    Some(HeaderValue::from_static(if window_told {
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
    } else {
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    }))
}

fn is_window(bits: &str) -> bool {
    matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
}

/// Inflates a whole message. Memory is taken as it comes out, and never more than `max_bytes` and a step.
///
/// # Errors
/// 1009 for more than `max_bytes`, 1007 for what can't be inflated.
pub fn inflate(message: &[u8], max_bytes: usize) -> Result<Vec<u8>, Violation> {
    thread_local! {
        static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    }
    INFLATE.with_borrow_mut(|inflate| {
        inflate.reset(false);
        let mut out = Vec::new();
        for mut input in [message, &TAIL] {
            loop {
                if out.len() == out.capacity() {
                    out.reserve_exact(INFLATE_STEP_BYTES.min(max_bytes + 1 - out.len()));
                }
                let before = inflate.total_in();
                let status = inflate.decompress_vec(input, &mut out, FlushDecompress::None);
                let status = status.map_err(|_| broken())?;
                if out.len() > max_bytes {
                    let reason = "a message is too big when it is inflated";
                    return Err(Violation { close_code: MESSAGE_TOO_BIG, reason });
                }
                input = &input[(inflate.total_in() - before) as usize..];
                match status {
                    // What comes after a last block is padding (RFC 7692 §7.2.3.4).
                    Status::StreamEnd => return Ok(out),
                    _ if out.len() == out.capacity() => {}
                    _ if input.is_empty() => break,
                    Status::Ok => {}
                    Status::BufError => return Err(broken()),
                }
            }
        }
        Ok(out)
    })
}

fn broken() -> Violation {
    Violation { close_code: INVALID_PAYLOAD, reason: "a message can't be inflated" }
}

/// Compresses a message, or the end of one, without what a peer puts back. `None` if that would not make it shorter.
#[must_use]
pub fn deflate(body: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(4), false));
    }
    if body.len() < DEFLATE_FROM_BYTES {
        return None;
    }
    DEFLATE.with_borrow_mut(|deflate| {
        deflate.reset();
        // If it doesn't fit in here, it is no shorter.
        let mut out = Vec::with_capacity(body.len());
        let status = deflate.compress_vec(body, &mut out, FlushCompress::Sync).ok()?;
        let whole = status == Status::Ok && deflate.total_in() == body.len() as u64 && out.ends_with(&TAIL);
        if !whole || out.len() == out.capacity() {
            return None;
        }
        out.truncate(out.len() - TAIL.len());
        out.shrink_to_fit();
        Some(out)
    })
}

/// Writes bytes as a stored block; at most 65,535 of them.
pub fn write_stored(bytes: &[u8], out: &mut Vec<u8>) {
    let length = bytes.len() as u16;
    out.reserve(STORED_HEADER_BYTES + bytes.len());
    out.push(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// What has been compressed a moment ago, so that a body which goes to many is compressed once.
///
/// It goes by where a body lies in memory, and holds it, so that nothing else can come to lie there.
#[derive(Debug)]
pub struct SharedDeflate {
    bodies: Cache<usize, Compressed, ByBytes>,
}

#[derive(Debug, Clone)]
struct Compressed {
    body: Bytes,
    /// Empty if it isn't shorter.
    blocks: Bytes,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<usize, Compressed> for ByBytes {
    fn weight(&self, _: &usize, compressed: &Compressed) -> u64 {
        (compressed.body.len() + compressed.blocks.len()) as u64
    }
}

impl Default for SharedDeflate {
    fn default() -> Self {
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(SHARED_BODIES).weight_capacity(SHARED_MAX_BYTES);
        let options = options.build().expect("both of what it must know are set");
        Self { bodies: Cache::with_options(options, ByBytes, Default::default(), Default::default()) }
    }
}

impl SharedDeflate {
    /// The body's blocks. `None`: it is better sent as it is.
    #[must_use]
    pub fn blocks_of(&self, body: &Bytes) -> Option<Bytes> {
        if body.len() < DEFLATE_FROM_BYTES {
            return None;
        }
        let place = body.as_ptr() as usize;
        let known = self.bodies.get(&place).filter(|known| known.body.len() == body.len());
        let blocks = match known {
            Some(known) => known.blocks,
            None => {
                let blocks = Bytes::from(deflate(body).unwrap_or_default());
                self.bodies.insert(place, Compressed { body: body.clone(), blocks: blocks.clone() });
                blocks
            }
        };
        (!blocks.is_empty()).then_some(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = include_str!("../../../../tests/data/chat.txt");

    fn offered(offer: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap());
        negotiate(&headers).map(|answer| answer.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_offer_that_can_be_taken_is_and_any_other_is_passed_over() {
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for taken in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10; server_no_context_takeover",
            "permessage-deflate;client_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ] {
            assert_eq!(offered(taken).as_deref(), Some(plain), "{taken}");
        }
        assert_eq!(
            offered("permessage-deflate; server_max_window_bits=15"),
            Some(format!("{plain}; server_max_window_bits=15"))
        );
        for passed_over in [
            "",
            "permessage-bzip2",
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; unheard_of",
        ] {
            assert_eq!(offered(passed_over), None, "{passed_over}");
        }
    }

    #[test]
    fn a_stored_prefix_and_shared_blocks_are_one_message() {
        let body = Bytes::from_static(CHAT.as_bytes());
        let shared = SharedDeflate::default();
        let blocks = shared.blocks_of(&body).unwrap();
        assert!(blocks.len() * 3 < body.len() * 2, "{} of {}", blocks.len(), body.len());
        for prefix in ["{\"cursor\":\"1.2.3\",", "{"] {
            let mut message = Vec::new();
            write_stored(prefix.as_bytes(), &mut message);
            message.extend_from_slice(&blocks);
            assert_eq!(inflate(&message, 1 << 20).unwrap(), [prefix, CHAT].concat().as_bytes());
        }
    }

    #[test]
    fn a_body_is_compressed_once_for_all() {
        let body = Bytes::from_static(CHAT.as_bytes());
        let shared = SharedDeflate::default();
        let first = shared.blocks_of(&body).unwrap();
        assert_eq!(shared.blocks_of(&body.clone()).unwrap().as_ptr(), first.as_ptr());
    }

    #[test]
    fn what_does_not_become_shorter_is_sent_as_it_is() {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(4096).collect();
        assert_eq!(deflate(&noise), None);
        assert_eq!(deflate(&[b'x'; DEFLATE_FROM_BYTES - 1]), None);
        assert!(deflate(&[b'x'; DEFLATE_FROM_BYTES]).is_some());
        assert_eq!(SharedDeflate::default().blocks_of(&Bytes::from(noise)), None);
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit_and_takes_no_more_memory_than_that() {
        let bomb = deflate(&vec![b' '; 64 << 20]).unwrap();
        assert!(bomb.len() < 400_000);
        assert_eq!(inflate(&bomb, 65_536).unwrap_err().close_code, MESSAGE_TOO_BIG);
        let exact = deflate(&vec![b' '; 65_536]).unwrap();
        assert_eq!(inflate(&exact, 65_536).unwrap().len(), 65_536);
        assert_eq!(inflate(&exact, 65_535).unwrap_err().close_code, MESSAGE_TOO_BIG);
    }

    #[test]
    fn rubbish_is_refused_and_an_empty_message_is_none() {
        assert_eq!(inflate(&[0xff; 20], 1000).unwrap_err().close_code, INVALID_PAYLOAD);
        // RFC 7692 §7.2.3.6: an empty block, of one byte.
        assert_eq!(inflate(&[0], 1000).unwrap(), b"");
        // §7.2.3.1 and §7.2.3.4: "Hello", and the same with a last block.
        assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 1000).unwrap(), b"Hello");
        assert_eq!(inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], 1000).unwrap(), b"Hello");
    }
}
