//! HTTP/1.1: what is served, and what is not waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use super::server::Server;
use crate::adapters::inbound::listener::config::Config;
use crate::adapters::inbound::listener::slot::Slots;
use crate::application::ports::telemetry::labels::Limit;
use crate::application::ports::telemetry::measure::{Gauges as _, Measure};
use crate::application::ports::telemetry::occurrence::{Occurrence, Telemetry};

const SHORT: Duration = Duration::from_millis(80);

#[tokio::test]
async fn a_connection_serves_several_requests_and_knows_its_peer() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    for _ in 0..3 {
        let answer = client.ask_peer().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

/// What is read from where it lies is read as hyper reads it, which all is left to that comes in pieces.
#[tokio::test]
async fn a_request_is_answered_the_same_whether_it_comes_whole_or_in_pieces() {
    let server = Server::start(Config::default());
    let many =
        format!("GET /asked HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}\r\n", "x: y\r\n".repeat(99));
    for request in [
        "GET /asked HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "\r\n\r\nGET /asked HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\nhost: x\nconnection: close\n\n",
        "GET /asked?a=%20&b=\u{e4} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET http://y/asked HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET y:80 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET asked HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /asked#part HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "get /asked HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.0\r\nhost: x\r\n\r\n",
        "GET /asked HTTP/1.2\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\nhost: y\r\nConnection: Close, x\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost:x\r\nX-A:  b \t\r\nx-a:\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\nx: \u{e4}\t\u{7}\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\nx: \u{e4}\tz\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost : x\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\nx: y\r\n folded\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\n: y\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\nx\0y: z\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
        "GET /asked HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
        "GET /asked HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n0\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
        "HEAD /asked HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\n\r\nGET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /asked HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n",
        many.as_str(),
    ] {
        let whole = {
            let mut client = server.connect().await;
            client.send(request).await;
            client.read_until_closed().await
        };
        let in_pieces = {
            let mut client = server.connect().await;
            client.0.set_nodelay(true).unwrap();
            for byte in request.bytes() {
                // Whoever has been refused already is not listened to for long.
                let _ = client.0.write_all(&[byte]).await;
                tokio::task::yield_now().await;
            }
            client.read_until_closed().await
        };
        assert!(!whole.is_empty(), "{request:?}");
        assert_eq!(essence(&whole), essence(&in_pieces), "{request:?}");
    }
}

/// The lines of answers, but for dates and ports, and for the order of what stands in a head.
fn essence(answers: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answers);
    let lines = text.split("\r\n").filter(|line| !line.starts_with("date: "));
    let lines = lines.map(|line| line.split_once("127.0.0.1:").map_or(line, |(before, _)| before).to_owned());
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn a_silent_socket_is_closed() {
    let server = Server::start(Config { first_byte_timeout: SHORT, ..Config::default() });
    let mut client = server.connect().await;
    assert!(client.read_until_closed().await.is_empty());
}

#[tokio::test]
async fn a_slow_header_is_closed_however_it_trickles() {
    let server = Server::start(Config { header_read_timeout: SHORT, ..Config::default() });
    let mut client = server.connect().await;
    client.send("GET /peer HTTP/1.1\r\nhost: x\r\n").await;
    let (mut reader, mut writer) = client.0.into_split();
    let trickle = async {
        let mut tick = tokio::time::interval(SHORT / 4);
        loop {
            tick.tick().await;
            if tokio::io::AsyncWriteExt::write_all(&mut writer, b"x-more: 1\r\n").await.is_err() {
                return;
            }
        }
    };
    let mut answer = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer);
    super::server::soon(futures_util::future::select(Box::pin(trickle), Box::pin(closed))).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn the_header_of_a_later_request_may_not_be_slow_either() {
    let config = Config {
        header_read_timeout: SHORT,
        keep_alive_idle_timeout: Duration::from_secs(3600),
        ..Config::default()
    };
    let server = Server::start(config);
    let mut client = server.connect().await;
    client.ask_peer().await;
    client.send("GET /peer HT").await;
    assert!(!client.read_until_closed().await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_the_idle_time_not_the_headers() {
    let idle = SHORT * 4;
    let config = Config { header_read_timeout: SHORT, keep_alive_idle_timeout: idle, ..Config::default() };
    let server = Server::start(config);
    let mut client = server.connect().await;
    client.ask_peer().await;
    #[expect(clippy::disallowed_methods, reason = "the peer's view: sockets know no paused time")]
    let start = Instant::now();
    client.read_until_closed().await;
    assert!(start.elapsed() >= idle - SHORT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_header_over_the_limit_is_answered_431() {
    let config = Config::default();
    let server = Server::start(config);
    let mut client = server.connect().await;
    let padding = "a".repeat(config.max_header_bytes);
    client.send(format!("GET /peer HTTP/1.1\r\nhost: x\r\nx-padding: {padding}\r\n\r\n")).await;
    let answer = client.read_until_closed().await;
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_header_just_below_the_limit_is_served() {
    let config = Config::default();
    let server = Server::start(config);
    let mut client = server.connect().await;
    let padding = "a".repeat(config.max_header_bytes - 100);
    client.send(format!("GET /peer HTTP/1.1\r\nx-padding: {padding}\r\n")).await;
    let answer = client.ask_rest_of_header().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn nonsense_is_answered_400() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send("\u{1}\u{2}\u{3} no http\r\n\r\n").await;
    assert!(client.read_until_closed().await.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_request_that_begins_like_the_preface_is_served_also_in_pieces() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client.send_bytewise(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nback").await;
    let answer = client.read_until("back").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    client.ask_peer().await;
}

#[tokio::test]
async fn an_upgrade_gets_the_bare_socket_and_what_was_read_ahead() {
    let server = Server::start(Config::default());
    let mut client = server.connect().await;
    client
        .send("GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nread ahead")
        .await;
    let answer = client.read_until("\r\n\r\nread ahead").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client.send("and on").await;
    client.read_until("and on").await;
}

#[tokio::test]
async fn over_the_cap_a_peer_waits_until_another_leaves() {
    let (slots, telemetry) = one_place();
    let server = Server::start_within(&slots);
    assert_eq!(used(&slots), [0.0, 1.0]);
    let mut first = server.connect().await;
    first.ask_peer().await;
    let mut second = server.connect().await;
    second.send("GET /peer HTTP/1.1\r\nhost: x\r\n\r\n").await;
    first.ask_peer().await;
    assert!(second.0.try_read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock));
    assert_eq!((used(&slots), telemetry.full.load(Ordering::SeqCst)), ([1.0, 1.0], 1));
    drop(first);
    let own = second.0.local_addr().unwrap().to_string();
    second.read_until(&own).await;
    assert_eq!((used(&slots), telemetry.full.load(Ordering::SeqCst)), ([1.0, 1.0], 2));
}

/// How often there was no place left.
#[derive(Default)]
struct Noted {
    full: AtomicUsize,
}

impl Telemetry for Noted {
    fn record(&self, occurrence: Occurrence) {
        assert_eq!(occurrence, Occurrence::LimitHit(Limit::Connections));
        self.full.fetch_add(1, Ordering::SeqCst);
    }
}

fn one_place() -> (Slots, Arc<Noted>) {
    let telemetry = Arc::<Noted>::default();
    (Slots::new(1).counted_by(telemetry.clone()), telemetry)
}

/// Places that are taken, and all.
fn used(slots: &Slots) -> [f64; 2] {
    let mut told = [f64::NAN; 2];
    slots.measure(&mut |measure, value| match measure {
        Measure::Sockets => told[0] = value,
        Measure::SocketsMax => told[1] = value,
        other => panic!("{other:?}"),
    });
    told
}

#[tokio::test]
async fn an_upgraded_connection_still_counts_against_the_cap() {
    let server = Server::start_within(&Slots::new(1));
    let mut first = server.connect().await;
    first.send("GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    first.read_until("\r\n\r\n").await;
    let mut second = server.connect().await;
    second.send("GET /peer HTTP/1.1\r\nhost: x\r\n\r\n").await;
    first.send("echo").await;
    first.read_until("echo").await;
    assert!(second.0.try_read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock));
    drop(first);
    let own = second.0.local_addr().unwrap().to_string();
    second.read_until(&own).await;
}
