//! What a client would send, for tests.

use super::frame::{Opcode, write_header};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame.
pub(super) fn client_frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    raw_frame(u8::from(fin) << 7 | opcode as u8, payload)
}

/// A masked frame with any first byte.
pub(super) fn raw_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_header(Opcode::Text, false, payload.len(), &mut frame);
    frame[0] = first;
    frame[1] |= 0x80;
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
