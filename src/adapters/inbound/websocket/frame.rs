//! Frame headers and masks (RFC 6455 §5.2, §5.3).

use super::close::Violation;

/// Longest header that a client sends: two bytes, a 64-bit length, the mask.
pub const HEADER_MAX_BYTES: usize = 14;
/// Longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_MAX_BYTES: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// RSV1: the message is compressed (RFC 7692 §6).
const COMPRESSED: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// In place of a length: the next two bytes hold it.
const LENGTH_IS_U16: u8 = 126;
/// In place of a length: the next eight bytes hold it.
const LENGTH_IS_U64: u8 = 127;
const MASK_BYTES: usize = 4;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that began before.
    Continuation = 0,
    /// A text message, or its beginning.
    Text = 1,
    /// A binary message, or its beginning.
    Binary = 2,
    /// The last frame of this direction.
    Close = 8,
    /// Asks for a pong with the same payload.
    Ping = 9,
    /// Answers a ping, or says "I'm here" unasked.
    Pong = 10,
}

impl Opcode {
    /// Control frames may come between the fragments of a message (RFC 6455 §5.4).
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// Appends the header of a whole, unmasked message: all that a server sends.
pub fn write_header(opcode: Opcode, compressed: bool, payload_bytes: usize, out: &mut Vec<u8>) {
    out.push(FIN | opcode as u8 | if compressed { COMPRESSED } else { 0 });
    if payload_bytes < usize::from(LENGTH_IS_U16) {
        out.push(payload_bytes as u8);
    } else if let Ok(length) = u16::try_from(payload_bytes) {
        out.push(LENGTH_IS_U16);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(LENGTH_IS_U64);
        out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
    }
}

/// A client's frame header, with every rule kept that a header can keep by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Last fragment of its message.
    pub fin: bool,
    /// What it is.
    pub opcode: Opcode,
    /// Whether it begins a compressed message.
    pub compressed: bool,
    /// As claimed; below 2^63.
    pub payload_bytes: u64,
    /// What the payload is XORed with.
    pub mask: [u8; MASK_BYTES],
}

/// The part of a header that has arrived.
#[derive(Debug, Clone, Copy, Default)]
pub struct PartialHeader {
    bytes: [u8; HEADER_MAX_BYTES],
    filled: u8,
}

impl PartialHeader {
    /// Whether nothing of a header has come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Takes bytes off the input until the header is complete. The rules of the first two bytes are checked as soon
    /// as these are there. `may_compress`: permessage-deflate has been negotiated.
    ///
    /// # Errors
    /// 1002: reserved bits, unknown opcode, no mask, a control frame that is long or fragmented, a length that isn't
    /// written in the fewest bytes.
    pub fn read(&mut self, input: &mut &[u8], may_compress: bool) -> Result<Option<Header>, Violation> {
        if self.filled < 2 {
            if !self.fill(2, input) {
                return Ok(None);
            }
            check_first_two(self.bytes[0], self.bytes[1], may_compress)?;
        }
        let length_bytes = match self.bytes[1] & LENGTH {
            LENGTH_IS_U16 => 2,
            LENGTH_IS_U64 => 8,
            _ => 0,
        };
        if !self.fill(2 + length_bytes + MASK_BYTES, input) {
            return Ok(None);
        }
        let header = parse(&self.bytes, length_bytes)?;
        self.filled = 0;
        Ok(Some(header))
    }

    fn fill(&mut self, wanted: usize, input: &mut &[u8]) -> bool {
        let filled = usize::from(self.filled);
        let (taken, rest) = input.split_at(input.len().min(wanted - filled));
        self.bytes[filled..filled + taken.len()].copy_from_slice(taken);
        self.filled += taken.len() as u8;
        *input = rest;
        usize::from(self.filled) == wanted
    }
}

fn check_first_two(first: u8, second: u8, may_compress: bool) -> Result<(), Violation> {
    let opcode = Opcode::from_bits(first & OPCODE);
    // Only a message's first frame tells that it is compressed (RFC 7692 §6.1).
    let begins = matches!(opcode, Some(Opcode::Text | Opcode::Binary));
    let reserved = if may_compress && begins { RESERVED & !COMPRESSED } else { RESERVED };
    if first & reserved != 0 {
        return Err(Violation::protocol("reserved bits are set"));
    }
    let Some(opcode) = opcode else {
        return Err(Violation::protocol("unknown opcode"));
    };
    if second & MASKED == 0 {
        return Err(Violation::protocol("a client's frame is not masked"));
    }
    if opcode.is_control() {
        if first & FIN == 0 {
            return Err(Violation::protocol("a control frame is fragmented"));
        }
        if usize::from(second & LENGTH) > CONTROL_PAYLOAD_MAX_BYTES {
            return Err(Violation::protocol("a control frame is over 125 bytes"));
        }
    }
    Ok(())
}

fn parse(bytes: &[u8; HEADER_MAX_BYTES], length_bytes: usize) -> Result<Header, Violation> {
    let (length, mask) = bytes[2..].split_at(length_bytes);
    let (payload_bytes, fewest) = match length.len() {
        0 => (u64::from(bytes[1] & LENGTH), 0),
        2 => (be_u64(length), u64::from(LENGTH_IS_U16)),
        _ => (be_u64(length), 1 << 16),
    };
    if payload_bytes < fewest {
        return Err(Violation::protocol("a length is not written in the fewest bytes"));
    }
    if payload_bytes >> 63 != 0 {
        return Err(Violation::protocol("a length has its highest bit set"));
    }
    let opcode = Opcode::from_bits(bytes[0] & OPCODE).ok_or(Violation::protocol("unknown opcode"))?;
    Ok(Header {
        fin: bytes[0] & FIN != 0,
        opcode,
        compressed: bytes[0] & COMPRESSED != 0,
        payload_bytes,
        mask: [mask[0], mask[1], mask[2], mask[3]],
    })
}

fn be_u64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Takes the mask off a part of a payload, and leaves the mask turned for the part that follows.
pub fn unmask(payload: &mut [u8], mask: &mut [u8; MASK_BYTES]) {
    let [a, b, c, d] = *mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    mask.rotate_left(payload.len() % MASK_BYTES);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mask_comes_off_in_any_parts(
            plain in proptest::collection::vec(any::<u8>(), 0..200),
            mask: [u8; 4],
            cut in 0usize..200,
        ) {
            let mut masked: Vec<u8> =
                plain.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            let (head, tail) = masked.split_at_mut(cut.min(plain.len()));
            let mut turning = mask;
            unmask(head, &mut turning);
            unmask(tail, &mut turning);
            prop_assert_eq!(masked, plain);
        }
    }

    #[test]
    fn lengths_are_written_in_the_fewest_bytes() {
        for (payload_bytes, expected) in [
            (0usize, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xff, 0xff]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut header = Vec::new();
            write_header(Opcode::Text, false, payload_bytes, &mut header);
            assert_eq!(header, expected);
        }
    }
}
