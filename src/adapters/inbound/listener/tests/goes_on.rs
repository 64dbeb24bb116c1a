//! Answers that wait or go on, which are written outside hyper.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use tokio::io::AsyncReadExt;

use super::http2::{Http2Client, connect_http2};
use super::server::{BIG_BYTES, SOURCE_SECOND, Server, soon};
use crate::adapters::inbound::listener::config::Config;

const LATER: &str = "GET /later HTTP/1.1\r\nhost: x\r\n\r\n";
const LATER_AND_CLOSE: &str = "GET /later HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Close\r\n\r\n";
const STREAM: &str = "GET /stream HTTP/1.1\r\nhost: x\r\n\r\n";
/// The end of `/later`'s answer.
const ANSWERED: &str = "\r\n\r\nnow";

/// What a head says, but for its date.
fn without_date(answer: &str) -> Vec<&str> {
    answer.split("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}

#[tokio::test]
async fn an_answer_that_is_waited_for_says_all_that_one_at_once_says() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send(LATER).await;
    server.waits().await;
    server.answer_later();
    let answer = client.read_until(ANSWERED).await;
    assert!(answer.contains("\r\ndate: "), "{answer}");
    let content_type = "content-type: text/plain; charset=utf-8";
    assert_eq!(
        without_date(&answer),
        ["HTTP/1.1 200 OK", content_type, "x-layer: was here", "content-length: 3", "", "now"]
    );
}

#[tokio::test]
async fn after_it_the_connection_serves_more() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send_bytewise(LATER.as_bytes()).await;
        server.waits().await;
        server.answer_later();
        client.read_until(ANSWERED).await;
        client.ask_peer().await;
    }
}

#[tokio::test]
async fn what_was_sent_behind_the_request_is_served_behind_its_answer() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send(format!("{LATER}GET /peer HTTP/1.1\r\nho")).await;
    server.waits().await;
    client.send("st: x\r\nx-a: b\r\n").await;
    server.answer_later();
    client.read_until(ANSWERED).await;
    client.ask_rest_of_header().await;
}

/// hyper still holds the end of a large answer when it reads the request behind it.
#[tokio::test]
async fn an_answer_before_it_arrives_whole_at_a_client_that_reads_late() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send(format!("GET /big HTTP/1.1\r\nhost: x\r\n\r\n{LATER}")).await;
    let mut head = client.read_until("\r\n\r\n").await;
    head.make_ascii_lowercase();
    assert!(head.contains(&format!("content-length: {BIG_BYTES}\r\n")), "{head}");
    let mut body = vec![0; BIG_BYTES];
    soon(client.0.read_exact(&mut body)).await.unwrap();
    assert!(body.iter().all(|byte| *byte == b'b'));
    server.waits().await;
    server.answer_later();
    assert!(client.read_until(ANSWERED).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_client_that_asks_for_the_end_gets_it_after_the_answer() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send(LATER_AND_CLOSE).await;
    server.waits().await;
    server.answer_later();
    let answer = client.read_until(ANSWERED).await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(client.read_until_closed().await.is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_is_not_waited_for() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send(LATER).await;
    server.waits().await;
    drop(client);
    server.later_dropped().await;
}

#[tokio::test]
async fn at_a_soft_stop_it_is_answered_and_nothing_more() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send(LATER).await;
    server.waits().await;
    server.soft.cancel();
    server.answer_later();
    let answer = client.read_until(ANSWERED).await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(client.read_until_closed().await.is_empty());
    server.ended().await;
}

#[tokio::test]
async fn a_hard_stop_drops_it() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send(LATER).await;
    server.waits().await;
    server.hard.cancel();
    assert!(client.read_until_closed().await.is_empty());
    server.ended().await;
}

#[tokio::test]
async fn a_connection_that_waits_for_more_after_it_is_kept_for_the_idle_time() {
    let idle = Duration::from_millis(80);
    let server = Server::start(Config { keep_alive_idle_timeout: idle, ..Config::default() });
    let mut client = server.connect().await;
    client.send(LATER).await;
    server.waits().await;
    server.answer_later();
    client.read_until(ANSWERED).await;
    assert!(client.read_until_closed().await.is_empty());
}

#[tokio::test]
async fn a_soft_stop_closes_one_that_waits_for_more_after_it() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send(LATER).await;
    server.waits().await;
    server.answer_later();
    client.read_until(ANSWERED).await;
    server.soft.cancel();
    assert!(client.read_until_closed().await.is_empty());
    server.ended().await;
}

#[tokio::test]
async fn a_request_with_a_body_can_not_be_upgraded() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client
        .send("GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\ncontent-length: 1\r\n\r\nx")
        .await;
    assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn one_that_panics_is_answered_500_and_the_connection_goes_on() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send("GET /panics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let answer = client.read_until("}").await;
    assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"internal\""), "{answer}");
    client.ask_peer().await;
}

#[tokio::test]
async fn a_stream_is_chunked_and_another_request_may_follow_it() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send(STREAM).await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    server.chunks.send("sixteen bytes...").await.unwrap();
    assert_eq!(client.read_until("...\r\n").await, "10\r\nsixteen bytes...\r\n");
    server.chunks.send("").await.unwrap();
    server.chunks.send("on").await.unwrap();
    assert_eq!(client.read_until("on\r\n").await, "2\r\non\r\n");
    let Server { chunks, .. } = server;
    drop(chunks);
    client.read_until("0\r\n\r\n").await;
    client.ask_peer().await;
}

#[tokio::test]
async fn what_a_source_says_is_chunked_and_another_request_may_follow_it() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send("GET /source HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let head = client.read_until("\r\n\r\n").await;
        assert_eq!(
            without_date(&head),
            ["HTTP/1.1 200 OK", "x-layer: was here", "transfer-encoding: chunked", "", ""]
        );
        let second = format!("{:08x}\r\n{SOURCE_SECOND}\r\n", SOURCE_SECOND.len());
        assert_eq!(client.read_until("\r\n0\r\n\r\n").await, format!("00000003\r\none\r\n{second}0\r\n\r\n"));
    }
    client.ask_peer().await;
}

#[tokio::test]
async fn over_http_1_0_and_2_a_source_is_a_body_like_others() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send("GET /source HTTP/1.0\r\nhost: x\r\n\r\n").await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(!head.contains("content-length") && !head.contains("chunked"), "{head}");
    assert_eq!(client.read_until_closed().await, format!("one{SOURCE_SECOND}").as_bytes());
    let Http2Client { mut requests, tasks: _tasks } = connect_http2(&server).await;
    let uri = format!("http://{}/source", server.address);
    let request = http::Request::get(uri).body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = soon(requests.send_request(request)).await.unwrap();
    assert_eq!(answer.headers().get("content-length"), None);
    let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, format!("one{SOURCE_SECOND}"));
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_stream_without_chunks() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send("GET /stream HTTP/1.0\r\nhost: x\r\n\r\n").await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(!head.contains("chunked"), "{head}");
    server.chunks.send("as it is").await.unwrap();
    let Server { chunks, .. } = server;
    drop(chunks);
    assert_eq!(client.read_until_closed().await, b"as it is");
}

#[tokio::test]
async fn one_that_is_waited_for_comes_over_http_2_as_well() {
    let server = Server::start(Config::default());
    let Http2Client { mut requests, tasks: _tasks } = connect_http2(&server).await;
    let uri = format!("http://{}/later", server.address);
    let request = http::Request::get(uri).body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = async {
        let answer = requests.send_request(request).await.unwrap();
        assert_eq!(answer.headers()["x-layer"], "was here");
        answer.into_body().collect().await.unwrap().to_bytes()
    };
    let ask = async {
        server.waits().await;
        server.answer_later();
    };
    let (body, ()) = soon(futures_util::future::join(answer, ask)).await;
    assert_eq!(body, "now");
}
