//! What `edgeway-bench` takes from, and tells, a Centrifugo and an Nchan: without one at hand.

#[allow(dead_code, reason = "a part of it is tested")]
#[path = "../benches/edgeway_bench/centrifugo.rs"]
mod centrifugo;
#[allow(dead_code, reason = "a part of it is tested")]
#[path = "../benches/edgeway_bench/parse.rs"]
mod parse;
#[allow(dead_code, reason = "a part of it is tested")]
#[path = "../benches/edgeway_bench/plan.rs"]
mod plan;

use serde_json::Value;

use crate::centrifugo::{Meaning, config, is_published, publication, query, read, version};
use crate::parse::{Parser, Piece};
use crate::plan::{Carriage, Plan};

#[test]
fn a_version_is_read_and_an_old_one_refused() {
    assert_eq!(version("Centrifugo v6.9.1 (Go version: go1.27.3)\n").as_deref(), Ok("6.9.1"));
    assert_eq!(version("Centrifugo v10.0.0 (Go version: go2)").as_deref(), Ok("10.0.0"));
    assert_eq!(
        version("Centrifugo v5.4.9 (Go version: go1.23.4)"),
        Err("Centrifugo 5.4.9 is older than 6".to_owned())
    );
    for odd in ["", "Centrifugo", "nginx version: nginx/1.22.1", "Centrifugo vX"] {
        assert!(version(odd).is_err(), "{odd:?}");
    }
}

#[test]
fn a_centrifugo_stays_on_loopback_and_tells_nobody_of_its_use() {
    let config: Value = serde_json::from_str(&config(4321)).expect("JSON");
    assert_eq!(config["http_server"]["address"], "127.0.0.1");
    assert_eq!(config["http_server"]["port"], "4321");
    assert_eq!(config["usage_stats"]["disabled"], true);
    assert_eq!(config["log"]["level"], "none");
}

#[test]
fn what_a_centrifugo_refuses_does_not_go_unnoticed() {
    let all = [
        (r#"{}"#, Meaning::Ping),
        (r#"{"id":1,"connect":{"client":"c","version":"6.9.1 OSS","ping":25,"pong":true}}"#, Meaning::Other),
        (r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"e"}}"#, Meaning::Subscribed),
        (r#"{"push":{"channel":"of_d1","pub":{"data":{"x":1},"offset":2}}}"#, Meaning::Publication),
        (r#"{"push":{"channel":"of_d2","pub":{"data":{"x":1},"offset":2}}}"#, Meaning::Refusal),
        (r#"{"push":{"channel":"of_d1","unsubscribe":{"code":2500,"reason":"r"}}}"#, Meaning::Refusal),
        (r#"{"push":{"disconnect":{"code":3008,"reason":"slow"}}}"#, Meaning::Refusal),
        (r#"{"id":1,"error":{"code":101,"message":"unauthorized"}}"#, Meaning::Refusal),
        (r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#, Meaning::Refusal),
        // Over SSE.
        (
            r#"{"connect":{"client":"c","subs":{"of_d1":{"recoverable":true}},"ping":25}}"#,
            Meaning::Subscribed,
        ),
        (r#"{"connect":{"client":"c","ping":25}}"#, Meaning::Refusal),
        (r#"{"connect":{"client":"c","subs":{"of_d2":{}},"ping":25}}"#, Meaning::Refusal),
        (r#"{"channel":"of_d1","pub":{"data":{"x":1},"offset":2}}"#, Meaning::Publication),
        (r#"{"disconnect":{"code":3012,"reason":"no pong"}}"#, Meaning::Refusal),
    ];
    for (message, meaning) in all {
        assert_eq!(read(message.as_bytes(), "of_d1"), meaning, "{message}");
    }
    assert!(is_published(br#"{"result":{"offset":1}}"#));
    assert!(!is_published(br#"{"error":{"code":107,"message":"bad request"}}"#));
}

#[test]
fn a_channel_is_named_alike_wherever_it_is_named() {
    let body = publication(Some(7), br#"{"type":"message_new"}"#);
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&body["channel"], &body["data"]["type"]), (&"of_d7".into(), &"message_new".into()));
    assert_eq!(query("of_d7"), "cf_connect=%7B%22subs%22%3A%7B%22of_d7%22%3A%7B%7D%7D%7D");
    let opening = centrifugo::opening("of_d7");
    assert_eq!(opening[..6], [0x81, 0x80 | (opening.len() as u8 - 6), 0, 0, 0, 0]);
    assert!(opening.ends_with(br#""channel":"of_d7"}}"#) || opening.ends_with(br#"{"channel":"of_d7"}}"#));
}

/// What comes out of bytes that come in pieces of this size.
fn events(carriage: Carriage, bytes: &[u8], size: usize) -> Vec<String> {
    let (mut parser, mut events) = (Parser::new(carriage), Vec::new());
    for piece in bytes.chunks(size) {
        parser.feed(piece, |piece| match piece {
            Piece::Event(event) => events.push(String::from_utf8_lossy(event).into_owned()),
            Piece::Close(code) => events.push(format!("closed with {code}")),
            Piece::Head(_) | Piece::Ping => {}
        });
    }
    events
}

#[test]
fn an_event_may_be_cut_by_a_chunk_and_a_frame_hold_more_than_one() {
    let stream = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\r\n\r\n7\r\ndata: {\r\n\
        a\r\n\"a\":1}\n\nda\r\n10\r\nta: {}\n\ndata: 3\n\r\n1\r\n\n\r\n0\r\n\r\n";
    for size in 1..stream.len() {
        assert_eq!(
            events(Carriage::CentrifugoSse, stream, size),
            [r#"{"a":1}"#, "{}", "3", "closed with 0"],
            "{size}"
        );
    }
    let frames = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05{}\n{}\x81\x02{}\x88\x02\x0b\xbb";
    for size in 1..frames.len() {
        assert_eq!(
            events(Carriage::Centrifugo, frames, size),
            ["{}", "{}", "{}", "closed with 3003"],
            "{size}"
        );
    }
}

#[test]
fn a_poll_of_nchan_goes_on_where_the_answer_ended() {
    let plan = Plan {
        carriage: Carriage::NchanPoll,
        server: ([127, 0, 0, 1], 80).into(),
        number: 0,
        token: None,
        dialogs: 1..2,
        resume: None,
    };
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nLast-Modified: Sat, 28 Nov 2026 16:41:11 GMT\r\n\
        Etag: 3\r\n\r\n{}";
    let next = plan.next_nchan_poll(answer.as_bytes()).expect("a poll");
    assert!(next.starts_with("GET /v1/poll?dialogs=d1 HTTP/1.1\r\n"), "{next}");
    assert!(
        next.ends_with("\r\nIf-Modified-Since: Sat, 28 Nov 2026 16:41:11 GMT\r\nIf-None-Match: 3\r\n\r\n"),
        "{next}"
    );
    let two = [answer, answer].concat();
    for size in 1..two.len() {
        assert_eq!(events(Carriage::NchanPoll, two.as_bytes(), size), [answer, answer], "{size}");
    }
}
