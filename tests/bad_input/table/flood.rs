//! HTTP/2 as an attack: each ends its own connection, and no other.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::http2::{HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame2, goaway_code};
use crate::harness::rows::Rows;
use crate::harness::stage::Stage;

const ENHANCE_YOUR_CALM: u32 = 11;
const PROTOCOL_ERROR: u32 = 1;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const CONTINUATION: u8 = 9;
const WINDOW_UPDATE: u8 = 8;
const END_HEADERS_AND_STREAM: u8 = 0x5;
/// A connection that waits for what never comes is closed by its ping: 30 s and 10 s.
const PATIENCE: Duration = Duration::from_secs(45);
/// `GET https://x/` by HPACK's static table (RFC 7541 appendix A).
const GET_ROOT: [u8; 6] = [0x82, 0x87, 0x84, 0x41, 0x01, b'x'];

/// What it is called, what is sent after the preface, and the codes that the connection may end with.
type Case = (&'static str, Vec<u8>, &'static [Option<u32>]);

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    let request = |stream: u32| frame2(HEADERS, END_HEADERS_AND_STREAM, stream, &GET_ROOT);
    let reset = |stream: u32| frame2(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let rapid_reset: Vec<u8> =
        (0..2000).map(|n| 2 * n + 1).flat_map(|stream| [request(stream), reset(stream)].concat()).collect();
    // A header that goes on for ever (CVE-2024-27316 and its kind).
    let mut endless = frame2(HEADERS, 0x1, 1, &GET_ROOT);
    // A literal of 200 bytes (RFC 7541 §6.2.2).
    let piece = [&[0x00, 0x01, b'a', 0x7f, 200 - 127][..], &[b'x'; 200]].concat();
    for _ in 0..5000 {
        endless.extend(frame2(CONTINUATION, 0, 1, &piece));
    }
    let cases: Vec<Case> = vec![
        ("rapid reset", rapid_reset, &[Some(ENHANCE_YOUR_CALM)]),
        (
            "a header without end",
            endless,
            &[Some(ENHANCE_YOUR_CALM), Some(COMPRESSION_ERROR), Some(PROTOCOL_ERROR), None],
        ),
        ("a frame above 16 KiB", frame2(SETTINGS, 0, 0, &vec![0; 16_386]), &[Some(FRAME_SIZE_ERROR)]),
        (
            "settings of five bytes",
            frame2(SETTINGS, 0, 0, &[0; 5]),
            &[Some(PROTOCOL_ERROR), Some(FRAME_SIZE_ERROR)],
        ),
        (
            "a header on stream 0",
            frame2(HEADERS, END_HEADERS_AND_STREAM, 0, &GET_ROOT),
            &[Some(PROTOCOL_ERROR)],
        ),
        ("a header on an even stream", request(2), &[Some(PROTOCOL_ERROR)]),
        ("a continuation of nothing", frame2(CONTINUATION, 0x4, 1, &GET_ROOT), &[Some(PROTOCOL_ERROR)]),
        (
            "a header table that is broken",
            frame2(HEADERS, 0x5, 1, &[0xff; 20]),
            &[Some(PROTOCOL_ERROR), Some(COMPRESSION_ERROR)],
        ),
        (
            "a ping of seven bytes",
            frame2(PING, 0, 0, &[0; 7]),
            &[Some(PROTOCOL_ERROR), Some(FRAME_SIZE_ERROR)],
        ),
        ("a window of nothing", frame2(WINDOW_UPDATE, 0, 0, &[0; 4]), &[Some(PROTOCOL_ERROR)]),
        ("a push", frame2(5, 0x4, 1, &[0, 0, 0, 2]), &[Some(PROTOCOL_ERROR)]),
    ];
    for over in stage.over_http2() {
        for (what, bytes, codes) in cases.clone() {
            let over = over.clone();
            rows.add(format!("flood: {what}, {}", over.name()), async move {
                let mut line = over.line().await;
                line.write([PREFACE, &bytes].concat()).await;
                let code = goaway_code(&mut line, PATIENCE).await;
                assert!(codes.contains(&code), "{code:?}");
            });
        }
        let name = over.name();
        rows.add(format!("flood: more streams than allowed, {name}"), async move {
            // Requests that wait for a body: the 257th and later ones are refused, the connection goes on.
            let mut line = over.line().await;
            let waiting = |n: u32| frame2(HEADERS, 0x4, 2 * n + 1, &[0x83, 0x87, 0x84, 0x41, 0x01, b'x']);
            let many: Vec<u8> = (0..300).flat_map(waiting).collect();
            line.write([PREFACE, &many].concat()).await;
            line.write(frame2(PING, 0, 0, b"still on")).await;
            line.read_bytes_until(b"still on").await;
        });
    }
}
