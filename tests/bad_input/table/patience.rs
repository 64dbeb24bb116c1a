//! Whoever makes the server wait: each row takes as long as the server is patient.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::harness::ask::{Asked, Over, Via};
use crate::harness::frames::{TEXT, frame};
use crate::harness::line::Line;
use crate::harness::rows::Rows;
use crate::harness::stage::Stage;

/// What the contract allows for a header or a body, with a little for the machine.
const TEN_SECONDS: Duration = Duration::from_millis(11_500);
/// Nothing is so slow that it would be taken for slow.
const ONE_SECOND: Duration = Duration::from_secs(1);

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    for over in stage.over_http1() {
        // A beginning, and what is trickled after it.
        for (what, beginning, trickle) in [
            ("nothing at all", "", ""),
            ("half a request line", "GET /v1/po", ""),
            ("a header that trickles", "GET /v1/poll HTTP/1.1\r\nhost: x\r\n", "x-more: 1\r\n"),
            ("a header line that trickles", "GET /v1/poll HTTP/1.1\r\nhost: x\r\nx-long: ", "x"),
        ] {
            let over = over.clone();
            rows.add(format!("patience: {what}, {}", over.name()), async move {
                let mut line = over.line().await;
                line.write(beginning).await;
                let seen = until_closed(&mut line, trickle).await;
                assert!(seen.is_empty() || seen.starts_with("HTTP/1.1 408 "), "{seen}");
            });
        }
    }
    for over in stage.everywhere() {
        let (name, stage) = (over.name(), stage.clone());
        rows.add(format!("patience: no hello, {name}"), async move {
            // Silence, and what is no hello.
            let mut line = over.upgrade("/v1/ws", &[]).await.expect("an upgrade");
            line.is_refused_and_closed("unauthorized", 4001).await;
            let mut line = over.upgrade("/v1/ws", &[]).await.expect("an upgrade");
            line.write(frame(TEXT, r#"{"type":"ping","ref":"1"}"#)).await;
            line.is_refused_and_closed("unauthorized", 4001).await;
            drop(stage);
        });
    }
    for over in stage.over_http1() {
        let (name, stage) = (over.name(), stage.clone());
        rows.add(format!("patience: a body that stops, {name}"), async move {
            let user = stage.user(&over.server, "slow").await;
            let (_reading, welcome) = over.attached("", &user.bearer()).await;
            let path = format!("/v1/commands?session={}", welcome["session"].as_str().expect("a session"));
            let asked = Asked::new("POST", path).with("authorization", user.bearer()).json();
            let head = asked.with("content-length", "100").head();
            let mut line = over.line().await;
            line.write(head + "[{\"type\":").await;
            line.answer().await.is_refused(408, "timeout");
            line.is_closed(ONE_SECOND * 3).await;
        });
    }
    let tls = Over { server: stage.tls.clone(), via: Via::Http1 };
    // The head of a handshake record that never comes (RFC 8446 §5.1).
    for (what, beginning) in [("silence", &b""[..]), ("half a record", b"\x16\x03\x01\x02\x00\x01")] {
        let server = tls.server.clone();
        rows.add(format!("patience: {what} instead of a TLS handshake"), async move {
            let mut line = server.connect_bare().await;
            line.write(beginning).await;
            line.is_closed(TEN_SECONDS).await;
        });
    }
    let server = tls.server.clone();
    rows.add("patience: plaintext to TLS", async move {
        let mut line = server.connect_bare().await;
        line.write("GET /v1/poll HTTP/1.1\r\nhost: x\r\n\r\n").await;
        // An alert (RFC 8446 §6), and no HTTP.
        assert!(!line.read_to_end(ONE_SECOND * 3).await.starts_with(b"HTTP"));
    });
}

/// Reads until the server hangs up, which it must within ten seconds though something comes now and then.
async fn until_closed(line: &mut Line, trickle: &str) -> String {
    let start = Instant::now();
    let mut seen = Vec::new();
    loop {
        assert!(start.elapsed() < TEN_SECONDS, "still open after {:?}", start.elapsed());
        let piece = ONE_SECOND.min(TEN_SECONDS.saturating_sub(start.elapsed()));
        match tokio::time::timeout(piece, line.read_some()).await {
            Ok(more) if more.is_empty() => return String::from_utf8_lossy(&seen).into_owned(),
            Ok(more) => seen.extend(more),
            Err(_) if trickle.is_empty() => {}
            Err(_) => line.write(trickle).await,
        }
    }
}
