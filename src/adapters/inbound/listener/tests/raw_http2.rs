//! HTTP/2 by hand: what no well-behaved client does.

use std::time::Duration;

use super::server::{Client, Server, soon};
use crate::adapters::inbound::listener::config::{Config, Http2Config};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u8 = 11;
const SHORT: Duration = Duration::from_millis(80);

/// A frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The frames a server sent before it closed: kind and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _flags, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let (payload, after) = rest.split_at(length.min(rest.len()));
        frames.push((*kind, payload.to_vec()));
        bytes = after;
    }
    frames
}

async fn first_frame_kind(client: &mut Client) -> u8 {
    let mut head = [0; 9];
    soon(tokio::io::AsyncReadExt::read_exact(&mut client.0, &mut head)).await.unwrap();
    head[3]
}

#[tokio::test]
async fn the_preface_is_known_in_whatever_pieces_it_comes() {
    let server = Server::start(Config::default());
    let whole = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for first_piece in 1..PREFACE.len() {
        let mut client = server.connect().await;
        client.0.set_nodelay(true).unwrap();
        client.send(&whole[..first_piece]).await;
        tokio::task::yield_now().await;
        client.send(&whole[first_piece..]).await;
        assert_eq!(first_frame_kind(&mut client).await, SETTINGS, "split after {first_piece}");
    }
    let mut client = server.connect().await;
    client.send_bytewise(&whole).await;
    assert_eq!(first_frame_kind(&mut client).await, SETTINGS);
}

#[tokio::test]
async fn half_a_preface_is_not_waited_for() {
    let server = Server::start(Config { first_byte_timeout: SHORT, ..Config::default() });
    for piece in [&PREFACE[..1], &PREFACE[..4], &PREFACE[..23]] {
        let mut client = server.connect().await;
        client.send(piece).await;
        assert!(client.read_until_closed().await.is_empty());
    }
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_closed_though_nothing_runs() {
    let http2 =
        Http2Config { keep_alive_interval: SHORT, keep_alive_timeout: SHORT, ..Http2Config::default() };
    let server = Server::start(Config { http2, ..Config::default() });
    let mut client = server.connect().await;
    client.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    client.read_until_closed().await;
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const END_STREAM_AND_HEADERS: u8 = 0x5;
    const CANCEL: [u8; 4] = 8u32.to_be_bytes();
    // GET http://x/ in the static table of HPACK (RFC 7541 appendix A).
    const GET_ROOT: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 0x01, b'x'];

    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    let mut flood = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for n in 0..1000 {
        let stream = 2 * n + 1;
        flood.extend(frame(HEADERS, END_STREAM_AND_HEADERS, stream, &GET_ROOT));
        flood.extend(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    client.send(flood).await;
    let seen = frames(&client.read_until_closed().await);
    let calm = |(kind, payload): &(u8, Vec<u8>)| *kind == GOAWAY && payload[7] == ENHANCE_YOUR_CALM;
    assert!(seen.iter().any(calm), "{seen:?}");
}
