//! WebSocket frames that break a rule: each has its close code, and the server hangs up.

use std::sync::Arc;

use crate::harness::frames::{BINARY, CLOSE, CONTINUATION, PING, TEXT, claim, fragment, frame};
use crate::harness::rows::Rows;
use crate::harness::stage::Stage;

const LIMIT: usize = 64 * 1024;
/// As fast as they are taken: whatever "for long" is, this is above it.
const PINGS: usize = 20_000;

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    let half = vec![b' '; LIMIT / 2 + 1];
    let mut pieces = fragment(TEXT, b" ");
    for _ in 0..70 {
        pieces.extend(fragment(CONTINUATION, b" "));
    }
    let mut empty_pieces = fragment(TEXT, b"");
    empty_pieces.extend(fragment(CONTINUATION, b"").repeat(10_000));
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("a frame over the limit", frame(TEXT, vec![b' '; LIMIT + 1]), 1009),
        ("one that claims to be", claim(0x80 | TEXT, LIMIT as u64 + 1), 1009),
        ("one that claims 2^62", claim(0x80 | TEXT, 1 << 62), 1009),
        ("fragments over the limit", [fragment(TEXT, &half), fragment(CONTINUATION, &half)].concat(), 1009),
        ("more than 64 fragments", pieces, 1008),
        ("10,000 empty fragments", empty_pieces, 1008),
        ("a flood of pings", frame(PING, b"").repeat(PINGS), 1008),
        ("a byte that is no UTF-8", frame(TEXT, b"{\"type\":\"\xff\"}"), 1007),
        ("a surrogate in UTF-8", frame(TEXT, b"\xed\xa0\x80"), 1007),
        ("UTF-8 cut short", frame(TEXT, b"\xc3"), 1007),
        ("an overlong form", frame(TEXT, b"\xc0\xaf"), 1007),
        ("a close reason that is no UTF-8", frame(CLOSE, b"\x03\xe8\xff"), 1007),
        ("binary", frame(BINARY, b"x"), 1003),
        ("empty binary", frame(BINARY, b""), 1003),
        ("no mask", vec![0x80 | TEXT, 2, b'{', b'}'], 1002),
        ("RSV1", frame(0x40 | TEXT, b"{}"), 1002),
        ("RSV2", frame(0x20 | TEXT, b"{}"), 1002),
        ("RSV3", frame(0x10 | TEXT, b"{}"), 1002),
        ("opcode 3", frame(0x3, b""), 1002),
        ("opcode 7", frame(0x7, b""), 1002),
        ("opcode 11", frame(0xb, b""), 1002),
        ("opcode 15", frame(0xf, b""), 1002),
        ("a continuation of nothing", frame(CONTINUATION, b"x"), 1002),
        ("a message inside another", [fragment(TEXT, b"a"), frame(TEXT, b"b")].concat(), 1002),
        ("a ping in fragments", fragment(PING, b"x"), 1002),
        ("a ping of 126 bytes", frame(PING, [b'x'; 126]), 1002),
        ("half a close code", frame(CLOSE, b"x"), 1002),
        ("a close code that is not sent", frame(CLOSE, 1005_u16.to_be_bytes()), 1002),
        ("a close code of nobody", frame(CLOSE, 2999_u16.to_be_bytes()), 1002),
        ("a length above 2^63", claim(0x80 | TEXT, u64::MAX), 1002),
        ("a length longer than need be", [&[0x80 | TEXT, 0x80 | 126, 0, 5][..], &[0; 9]].concat(), 1002),
    ];
    for over in stage.everywhere() {
        for (what, bytes, code) in cases.clone() {
            let (over, stage) = (over.clone(), stage.clone());
            rows.add(format!("frame: {what}, {}", over.name()), async move {
                let user = stage.user(&over.server, "wild").await;
                let (mut line, _) = over.attached("", &user.bearer()).await;
                line.write(&bytes).await;
                line.is_closed_with(code).await;
                // Nor does it help to come without a token.
                if !what.starts_with("a flood") {
                    let mut line = over.upgrade("/v1/ws", &[]).await.expect("an upgrade");
                    line.write(bytes).await;
                    line.is_closed_with(code).await;
                }
            });
        }
    }
}
