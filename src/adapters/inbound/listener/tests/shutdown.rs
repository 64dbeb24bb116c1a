//! How it ends: softly and hard.

use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Empty};

use super::http2::{Http2Client, connect_http2};
use super::server::{Server, soon};
use crate::adapters::inbound::listener::config::Config;

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_soft_stop_closes_idle_connections_and_lets_streams_end_themselves() {
    let server = Server::start(Config::default());
    let mut streaming = server.connect().await;
    streaming.open_stream().await;
    let mut idle = server.connect().await;
    idle.ask_peer().await;
    let mut silent = server.connect().await;

    server.soft.cancel();

    assert!(idle.read_until_closed().await.is_empty());
    assert!(silent.read_until_closed().await.is_empty());
    server.chunks.send("still here").await.unwrap();
    streaming.read_until("still here\r\n").await;
    let Server { chunks, tracker, .. } = server;
    drop(chunks);
    assert_eq!(streaming.read_until_closed().await, b"0\r\n\r\n");
    tracker.close();
    soon(tracker.wait()).await;
}

#[tokio::test]
async fn a_soft_stop_does_not_wait_for_half_a_request() {
    const HALF: &str = "GET /peer HTTP/1.1\r\nho";
    let server = Server::start(Config { header_read_timeout: LONG, ..Config::default() });
    let mut first = server.connect().await;
    first.send(HALF).await;
    let mut second = server.connect().await;
    second.ask_peer().await;
    second.send(HALF).await;
    let mut whole = server.connect().await;
    whole.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n").await;
    whole.read_until("100 Continue\r\n\r\n").await;

    server.soft.cancel();

    assert!(first.read_until_closed().await.is_empty());
    assert!(second.read_until_closed().await.is_empty());
    whole.send("hi").await;
    let answer = whole.read_until_closed().await;
    assert!(answer.ends_with(b"hi"), "{}", String::from_utf8_lossy(&answer));
    server.ended().await;
}

#[tokio::test]
async fn a_soft_stop_accepts_no_more() {
    let server = Server::start(Config::default());
    server.connect().await.ask_peer().await;
    server.soft.cancel();
    server.ended().await;
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_hard_stop_ends_streams_and_requests_that_would_not_end() {
    let server = Server::start(Config::default());
    let mut streaming = server.connect().await;
    streaming.open_stream().await;
    let mut waiting = server.connect().await;
    waiting.send("GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;

    server.soft.cancel();
    server.hard.cancel();

    streaming.read_until_closed().await;
    assert!(waiting.read_until_closed().await.is_empty());
    assert!(server.chunks.is_closed());
    server.ended().await;
}

#[tokio::test]
async fn a_hard_stop_alone_suffices() {
    let server = Server::start(Config::default());
    let mut streaming = server.connect().await;
    streaming.open_stream().await;
    server.hard.cancel();
    streaming.read_until_closed().await;
    server.ended().await;
}

#[tokio::test]
async fn on_http2_a_soft_stop_lets_streams_go_on_and_a_hard_one_ends_them() {
    let server = Server::start(Config::default());
    let Http2Client { mut requests, tasks } = connect_http2(&server).await;
    let get = |path: &str| Request::get(format!("http://x{path}")).body(Empty::new()).unwrap();
    let mut stream = soon(requests.send_request(get("/stream"))).await.unwrap().into_body();
    let never = tasks.spawn(requests.send_request(get("/never")));

    server.soft.cancel();
    server.chunks.send("still here").await.unwrap();
    let frame = soon(stream.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "still here");

    server.hard.cancel();
    assert!(soon(never).await.unwrap().is_err());
    assert!(soon(stream.frame()).await.is_none_or(|frame| frame.is_err()));
    server.ended().await;
    assert!(server.chunks.is_closed());
}
