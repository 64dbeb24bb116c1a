//! HTTP/2 with prior knowledge: what is served.

use std::time::Duration;

use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::server::{Server, soon};
use crate::adapters::inbound::listener::config::Config;
use crate::adapters::inbound::listener::executor::TrackedExecutor;

pub(super) struct Http2Client {
    pub(super) requests: SendRequest<Empty<Bytes>>,
    pub(super) tasks: TaskTracker,
}

pub(super) async fn connect_http2(server: &Server) -> Http2Client {
    http2_over(TcpStream::connect(server.address).await.unwrap()).await
}

pub(super) async fn http2_over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Http2Client {
    let tasks = TaskTracker::new();
    let (requests, connection) =
        soon(handshake(TrackedExecutor(tasks.clone()), TokioIo::new(stream))).await.unwrap();
    tasks.spawn(connection);
    Http2Client { requests, tasks }
}

#[tokio::test]
async fn prior_knowledge_is_enough() {
    let server = Server::start(Config::default());
    let mut client = connect_http2(&server).await;
    for _ in 0..2 {
        let request = Request::get("http://x/peer").body(Empty::new()).unwrap();
        let answer = soon(client.requests.send_request(request)).await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
        let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
        assert!(body.starts_with(b"127.0.0.1:"));
    }
}

#[tokio::test]
async fn a_header_list_over_the_limit_is_answered_431() {
    let config = Config::default();
    let server = Server::start(config);
    let mut client = connect_http2(&server).await;
    // Up to twice the limit it is the router's to answer.
    let padding = "a".repeat(2 * config.max_header_bytes);
    let request = Request::get("http://x/peer").header("x-padding", padding).body(Empty::new()).unwrap();
    let answer = soon(client.requests.send_request(request)).await;
    assert!(answer.is_err() || answer.is_ok_and(|a| a.status() == 431));
}

#[tokio::test]
async fn an_extended_connect_becomes_a_tunnel() {
    let server = Server::start(Config::default());
    let mut client = connect_http2(&server).await;
    // The server's SETTINGS have arrived once anything was answered.
    let warm_up = Request::get("http://x/peer").body(Empty::new()).unwrap();
    soon(client.requests.send_request(warm_up)).await.unwrap();

    let connect = Request::builder()
        .method(Method::CONNECT)
        .uri("http://x/upgrade")
        .extension(Protocol::from_static("websocket"))
        .body(Empty::new())
        .unwrap();
    let answer = soon(client.requests.send_request(connect)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut tunnel = TokioIo::new(soon(hyper::upgrade::on(answer)).await.unwrap());
    tunnel.write_all(b"there and back").await.unwrap();
    let mut echo = [0; 14];
    soon(tunnel.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"there and back");
}

#[tokio::test]
async fn a_connection_that_only_answers_pings_is_sent_away() {
    let short = Duration::from_millis(100);
    let server = Server::start(Config { keep_alive_idle_timeout: short, ..Config::default() });
    let idle = connect_http2(&server).await;
    let mut streaming = connect_http2(&server).await;
    let request = Request::get("http://x/stream").body(Empty::new()).unwrap();
    let mut stream = soon(streaming.requests.send_request(request)).await.unwrap().into_body();
    // Its task ends when the server has closed.
    idle.tasks.close();
    soon(idle.tasks.wait()).await;
    // By then the other one would have been sent away as well, were it idle.
    server.chunks.send("still here").await.unwrap();
    let frame = soon(stream.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "still here");
    let request = Request::get("http://x/peer").body(Empty::new()).unwrap();
    assert_eq!(soon(streaming.requests.send_request(request)).await.unwrap().status(), StatusCode::OK);
}
