//! Requests that are wrong as such: lines, headers, framing, methods, bodies.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::answer::CANARY;
use crate::harness::ask::{Asked, Over};
use crate::harness::rows::Rows;
use crate::harness::server::NAME;
use crate::harness::stage::Stage;

/// After a refusal that ends the connection the server hangs up at once.
const HANG_UP: Duration = Duration::from_secs(3);
const KIB: usize = 1024;

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    add_raw(rows, stage);
    for over in stage.everywhere() {
        add_targets(rows, &over);
        add_methods(rows, &over);
        add_bodies(rows, stage, &over);
    }
    for over in stage.over_http1() {
        add_framing(rows, stage, &over);
    }
}

/// Bytes that no client library would send. The answer, and then the end of the connection.
fn add_raw(rows: &mut Rows, stage: &Arc<Stage>) {
    let long = |bytes: usize| "x".repeat(bytes);
    let many: String = (0..101).map(|n| format!("x-{n}: {CANARY}\r\n")).collect();
    let get = |rest: &str| format!("GET /v1/poll HTTP/1.1\r\nhost: {NAME}\r\n{rest}\r\n");
    let cases = [
        ("a header of 16 KiB", get(&format!("x-long: {CANARY}{}\r\n", long(16 * KIB))), 431),
        ("a header of 17 KiB", get(&format!("x-long: {CANARY}{}\r\n", long(17 * KIB))), 431),
        ("a header of 1 MiB", get(&format!("x-long: {CANARY}{}\r\n", long(KIB * KIB))), 431),
        ("a header without end", format!("GET / HTTP/1.1\r\nx: {CANARY}{}", long(200 * KIB)), 431),
        ("101 header lines", get(&many), 431),
        (
            "a target of 13 KiB",
            format!("GET /v1/{}?{CANARY} HTTP/1.1\r\nhost: x\r\n\r\n", long(13 * KIB)),
            414,
        ),
        (
            "a target of 20 KiB",
            format!("GET /v1/{}?{CANARY} HTTP/1.1\r\nhost: x\r\n\r\n", long(20 * KIB)),
            414,
        ),
        (
            "a target of 70 KiB",
            format!("GET /v1/{}?{CANARY} HTTP/1.1\r\nhost: x\r\n\r\n", long(70 * KIB)),
            414,
        ),
        ("a target without end", format!("GET /{CANARY}{}", long(200 * KIB)), 414),
        ("no Host", "GET /v1/poll HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("two Hosts", get(&format!("host: {CANARY}\r\n")), 400),
        ("a Host that is none", "GET /v1/poll HTTP/1.1\r\nhost: a b/c\r\n\r\n".to_owned(), 400),
        ("a space before a colon", get("x-space : 1\r\n"), 400),
        ("a folded line", get("x-fold: 1\r\n 2\r\n"), 400),
        ("NUL in a value", get("x-nul: a\0b\r\n"), 400),
        ("a bare CR in a value", get("x-cr: a\rb\r\n"), 400),
        ("no colon", get(&format!("{CANARY}\r\n")), 400),
        ("an empty name", get(": 1\r\n"), 400),
        ("another version", format!("GET /v1/poll HTTP/3.0\r\nhost: {NAME}\r\n\r\n"), 400),
        ("no version", "GET /v1/poll\r\n\r\n".to_owned(), 400),
        ("control characters", "\u{1}\u{2}\u{3} no http\r\n\r\n".to_owned(), 400),
        ("a method that is none", format!("G(T /v1/poll HTTP/1.1\r\nhost: {NAME}\r\n\r\n"), 400),
        ("a space in the target", format!("GET /v1/po ll HTTP/1.1\r\nhost: {NAME}\r\n\r\n"), 400),
        ("a target that is none", format!("GET ht!tp://[ HTTP/1.1\r\nhost: {NAME}\r\n\r\n"), 400),
        ("two lengths", post("content-length: 2\r\ncontent-length: 3\r\n"), 400),
        ("a length that is none", post("content-length: -1\r\n"), 400),
        ("a length above 2^64", post("content-length: 99999999999999999999999\r\n"), 400),
        ("a coding that is none", post("transfer-encoding: gzip\r\n"), 400),
        ("chunked before the last", post("transfer-encoding: chunked, gzip\r\n"), 400),
        ("TLS to plaintext", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n".to_owned(), 400),
    ];
    for over in stage.over_http1() {
        for (what, bytes, status) in cases.clone() {
            let over = over.clone();
            rows.add(format!("head: {what}, {}", over.name()), async move {
                let mut line = over.line().await;
                line.write(bytes).await;
                line.answer().await.is_refused(status, "bad_request");
                if !matches!(what, "no Host" | "two Hosts" | "a Host that is none" | "a target of 13 KiB") {
                    line.is_closed(HANG_UP).await;
                }
            });
        }
    }
}

fn post(header: &str) -> String {
    format!("POST /v1/commands?session={CANARY} HTTP/1.1\r\nhost: {NAME}\r\n{header}\r\n")
}

fn add_targets(rows: &mut Rows, over: &Over) {
    for path in [
        "/nothing",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/ws/x",
        "/V1/poll",
        "/v1//poll",
        "/v1/poll/",
        "/v2/poll",
        "/v1/sessions/",
        "/v1/sessions/a/b",
        "/v1/../v1/poll",
        "/%76%31/poll",
        "/v1/poll%00",
        "/.env",
    ] {
        let over = over.clone();
        rows.add(format!("target: {path}, {}", over.name()), async move {
            over.ask(&Asked::new("GET", path)).await.is_refused(404, "not_found");
        });
    }
    for query in ["session=a&session=b", "wait_ms=1&wait_ms=2", "ticket=a&ticket=b"] {
        for path in ["/v1/poll", "/v1/sse"] {
            let over = over.clone();
            rows.add(format!("query: {path}?{query}, {}", over.name()), async move {
                over.ask(&Asked::new("GET", format!("{path}?{query}"))).await.is_refused(400, "bad_request");
            });
        }
    }
    // Far above the limit (`flood`) HTTP/2 itself ends the connection.
    if over.via == crate::harness::ask::Via::Http2 {
        for (what, headers, target, status) in
            [("a header of 17 KiB", 17 * KIB, 0, 431), ("a target of 13 KiB", 0, 13 * KIB, 414)]
        {
            let over = over.clone();
            rows.add(format!("head: {what}, {}", over.name()), async move {
                let mut asked = Asked::new("GET", format!("/v1/poll?x={}", "x".repeat(target)));
                // A header may be cut in lines: what counts is their sum.
                for _ in 0..headers / 1000 {
                    asked = asked.with("x-long", "x".repeat(1000));
                }
                let answer = over.ask(&asked).await;
                answer.is_refused(status, "bad_request");
            });
        }
    }
}

fn add_methods(rows: &mut Rows, over: &Over) {
    for (path, allow) in [
        ("/v1/sse", "GET"),
        ("/v1/poll", "GET"),
        ("/v1/commands", "POST"),
        ("/v1/tickets", "POST"),
        ("/v1/sessions/x", "DELETE"),
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if method == allow {
                continue;
            }
            let over = over.clone();
            rows.add(format!("method: {method} {path}, {}", over.name()), async move {
                let answer = over.ask(&Asked::new(method, path)).await;
                assert_eq!(answer.status, 405, "{answer:?}");
                assert_eq!(answer.header("allow"), Some(allow), "{answer:?}");
                if method != "HEAD" {
                    answer.is_refused(405, "bad_request");
                }
            });
        }
    }
}

fn add_bodies(rows: &mut Rows, stage: &Arc<Stage>, over: &Over) {
    let ping = r#"{"type":"ping"}"#;
    let large = format!(r#"{{"type":"ping","x":"{CANARY}{}"}}"#, "x".repeat(65 * KIB));
    let huge = "x".repeat(3 * KIB * KIB);
    for (what, content_type, body, status, code) in [
        ("text", Some("text/plain"), ping, 415, "bad_request"),
        ("no type", None, ping, 415, "bad_request"),
        ("a form", Some("application/x-www-form-urlencoded"), ping, 415, "bad_request"),
        ("a type that begins alike", Some("application/jsonp"), ping, 415, "bad_request"),
        ("a body of 65 KiB", Some("application/json"), &large, 413, "too_large"),
        ("a body of 3 MiB", Some("application/json"), &huge, 413, "too_large"),
        ("no body", Some("application/json"), "", 400, "bad_request"),
    ] {
        let (over, stage, body) = (over.clone(), stage.clone(), body.to_owned());
        rows.add(format!("body: {what}, {}", over.name()), async move {
            let user = stage.user(&over.server, "body").await;
            let (_line, welcome) = over.attached("", &user.bearer()).await;
            let path = format!("/v1/commands?session={}", welcome["session"].as_str().expect("a session"));
            let mut asked = Asked::new("POST", path).with("authorization", user.bearer()).body(body);
            if let Some(content_type) = content_type {
                asked = asked.with("content-type", content_type);
            }
            over.ask(&asked).await.is_refused(status, code);
        });
    }
}

/// What a body's framing can be wrong in, on a request that would be served.
fn add_framing(rows: &mut Rows, stage: &Arc<Stage>, over: &Over) {
    let chunked = "transfer-encoding: chunked\r\n";
    let chunks = format!("{:x}\r\n{}\r\n", 40 * KIB, " ".repeat(40 * KIB)).repeat(2);
    for (what, header, body, status, code) in [
        ("a chunk's length that is none", chunked, "zz\r\n".to_owned(), 400, "bad_request"),
        ("a chunk's length above 2^64", chunked, "fffffffffffffffff\r\n".to_owned(), 400, "bad_request"),
        (
            "a chunk that is longer than it says",
            chunked,
            "1\r\n{}\r\n0\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        ("80 KiB in chunks", chunked, chunks, 413, "too_large"),
        (
            "80 KiB announced, and waiting",
            "content-length: 81920\r\nexpect: 100-continue\r\n",
            String::new(),
            413,
            "too_large",
        ),
        (
            "a length and a coding",
            "content-length: 4\r\ntransfer-encoding: chunked\r\n",
            "0\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            "a coding and a length",
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
            "0\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
    ] {
        let (over, stage) = (over.clone(), stage.clone());
        rows.add(format!("framing: {what}, {}", over.name()), async move {
            let user = stage.user(&over.server, "framing").await;
            let (_reading, welcome) = over.attached("", &user.bearer()).await;
            let path = format!("/v1/commands?session={}", welcome["session"].as_str().expect("a session"));
            let asked = Asked::new("POST", path).with("authorization", user.bearer()).json();
            let mut line = over.line().await;
            let head = asked.head();
            let head = head.strip_suffix("\r\n").expect("a head ends so");
            line.write(format!("{head}{header}\r\n{body}")).await;
            // What follows on the line would be another's request: it must not be one.
            line.write("GET /v1/poll HTTP/1.1\r\nhost: x\r\n\r\n").await;
            line.answer().await.is_refused(status, code);
            line.is_closed(HANG_UP).await;
        });
    }
}
