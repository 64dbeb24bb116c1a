//! More than one may have, and what is another's.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::answer::Answer;
use crate::harness::ask::{Asked, KEY, Over, TRANSPORTS, Via, refused};
use crate::harness::line::SOON;
use crate::harness::rows::Rows;
use crate::harness::stage::Stage;

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    for over in stage.everywhere() {
        for on in TRANSPORTS {
            let (over, stage) = (over.clone(), stage.clone());
            rows.add(
                format!("limits: one id, two bodies and two users, {on:?}, {}", over.name()),
                async move {
                    let alice = stage.user(&over.server, "alice").await;
                    let bob = stage.user(&over.server, "bob").await;
                    let (one, two) = (stage.unique("d"), stage.unique("d"));
                    let id = stage.unique("same");
                    let said = |dialog: &str, words: &str| {
                        let command = json!({ "type": "send_message", "ref": "s", "dialog_id": dialog,
                        "client_message_id": id, "body": { "text": words } });
                        command.to_string().into_bytes()
                    };
                    let mut hers = over.session(on, &alice.bearer()).await;
                    let mut his = over.session(on, &bob.bearer()).await;
                    let first = over.command(on, &mut hers, &alice.bearer(), &said(&one, "hers")).await;
                    assert_eq!(first["duplicate"], false, "{first}");
                    // The same again is the same; another body, or dialog, is a conflict.
                    let again = over.command(on, &mut hers, &alice.bearer(), &said(&one, "hers")).await;
                    assert_eq!(
                        (&again["message_id"], &again["duplicate"]),
                        (&first["message_id"], &json!(true))
                    );
                    for other in [said(&one, "other"), said(&two, "hers")] {
                        let answer = over.command(on, &mut hers, &alice.bearer(), &other).await;
                        refused(&answer, "conflict");
                    }
                    // His id is his.
                    let his_first = over.command(on, &mut his, &bob.bearer(), &said(&one, "his")).await;
                    assert_eq!(his_first["duplicate"], false, "{his_first}");
                    assert_ne!(his_first["message_id"], first["message_id"]);
                },
            );
        }
    }
    for via in [Via::Http1, Via::Http2] {
        let (over, stage) = (Over { server: stage.plain.clone(), via }, stage.clone());
        rows.add(format!("limits: many connections of one user, {}", over.name()), async move {
            let user = stage.user(&over.server, "many").await;
            let bearer = user.bearer();
            let mut held = Vec::new();
            // Twenty by contract.
            for _ in 0..20 {
                held.push(over.attached("", &bearer).await);
            }
            let headers = [("authorization", &*bearer)];
            for on in TRANSPORTS {
                over.attach_is_refused(on, "", &headers, (403, "limit_exceeded", 4004)).await;
            }
            // Another user is none the worse, and those that are there go on.
            let other = stage.user(&over.server, "other").await;
            over.attached("", &other.bearer()).await;
            let (line, welcome) = &mut held[0];
            line.say(&json!({ "type": "ping", "ref": "mine" })).await;
            assert_eq!(line.hear_answer().await["type"], "pong");
            let session = welcome["session"].as_str().expect("a session").to_owned();
            let (_again, resumed) = over.attached(&format!("?session={session}"), &bearer).await;
            assert_eq!(resumed["resume"], "resumed", "{resumed}");
        });
    }
    let at = stage.clone();
    rows.add("limits: connects of one address, poll", async move {
        let polls = join_all((0..AT_ONCE).map(|_| asked_from(&at, [127, 0, 2, 1], "/v1/poll", None))).await;
        let (passed, limited): (Vec<_>, Vec<_>) = polls.iter().partition(|answer| answer.status == 401);
        assert!(passed.len() >= BURST_NEW, "{} passed", passed.len());
        assert!(!limited.is_empty(), "all passed");
        for answer in limited {
            answer.is_refused(429, "rate_limited");
            assert!(answer.json()["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{answer:?}");
        }
        // Another address is another's.
        assert_eq!(asked_from(&at, [127, 0, 2, 2], "/v1/poll", None).await.status, 401);
    });
    let at = stage.clone();
    rows.add("limits: connects of one address, stream", async move {
        let streams = join_all((0..AT_ONCE).map(|_| async {
            let mut line = at.small.connect_from([127, 0, 2, 3]).await;
            line.write(Asked::new("GET", "/v1/sse").with("connection", "close").head()).await;
            String::from_utf8(line.read_to_end(SOON).await).expect("UTF-8")
        }));
        let streams = streams.await;
        let (passed, limited): (Vec<_>, Vec<_>) =
            streams.iter().partition(|stream| stream.starts_with("HTTP/1.1 401"));
        assert!(passed.len() >= BURST_NEW, "{} passed", passed.len());
        assert!(!limited.is_empty(), "all passed");
        for stream in limited {
            assert!(stream.starts_with("HTTP/1.1 200") && stream.contains("text/event-stream"), "{stream}");
            assert!(stream.contains("retry: ") && stream.contains(r#""reason":"rate_limited""#), "{stream}");
        }
    });
    let at = stage.clone();
    rows.add("limits: connects of one address, WebSocket", async move {
        let closed = join_all((0..AT_ONCE).map(|_| async {
            let mut line = at.small.connect_from([127, 0, 2, 4]).await;
            line.write(upgrade().head()).await;
            assert_eq!(line.answer().await.status, 101);
            line.say(&json!({ "type": "hello", "token": "none" })).await;
            let error = line.hear().await;
            let limited = error["code"] == "rate_limited";
            assert_eq!(limited, error["retry_after_ms"].is_u64(), "{error}");
            refused(&error, if limited { "rate_limited" } else { "unauthorized" });
            line.is_closed_with(if limited { 4102 } else { 4001 }).await;
            limited
        }));
        let limited = closed.await.into_iter().filter(|limited| *limited).count();
        assert!(limited > 0 && limited <= AT_ONCE - BURST_NEW, "{limited} of {AT_ONCE}");
    });
    let at = stage.clone();
    rows.add("limits: X-Forwarded-For, spoofed and from a trusted proxy", async move {
        let limited = async |from: [u8; 4], client: fn(usize) -> String| {
            let asks = (0..AT_ONCE).map(|n| {
                let at = &at;
                async move { asked_from(at, from, "/v1/poll", Some(client(n))).await.status == 429 }
            });
            join_all(asks).await.into_iter().filter(|limited| *limited).count()
        };
        // Whoever is not trusted may write what it likes; whoever is, speaks for many.
        assert!(limited([127, 0, 2, 5], |n| format!("203.0.113.{n}")).await > 0);
        assert_eq!(limited([127, 0, 0, 9], |n| format!("203.0.113.{n}")).await, 0);
        // What a client has put in front of what the proxy wrote is the client's word.
        assert!(limited([127, 0, 0, 9], |n| format!("203.0.113.{n}, 198.51.100.7")).await > 0);
    });
    let at = stage.clone();
    rows.add("limits: a poll that goes on is no connect", async move {
        let user = at.user(&at.small, "poller").await;
        let bearer = user.bearer();
        let poll = async |query: &str| {
            let mut line = at.small.connect_from([127, 0, 2, 6]).await;
            let asked = Asked::new("GET", format!("/v1/poll{query}")).with("authorization", &*bearer);
            line.write(asked.head()).await;
            line.answer().await
        };
        let first = poll("").await.json();
        let used_up = join_all((0..AT_ONCE).map(|_| asked_from(&at, [127, 0, 2, 6], "/v1/poll", None))).await;
        assert!(used_up.iter().any(|answer| answer.status == 429), "all passed");
        let session = first["session"].as_str().expect("a session");
        for _ in 0..AT_ONCE {
            let answer = poll(&format!("?session={session}&wait_ms=0")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
}

/// So many at once are too many, and so many are not: twice 3 per second.
const AT_ONCE: usize = 60;
const BURST_NEW: usize = 6;

/// An answer of the server with small limits, asked from this address.
async fn asked_from(stage: &Stage, own: [u8; 4], path: &str, forwarded_for: Option<String>) -> Answer {
    let mut line = stage.small.connect_from(own).await;
    let mut asked = Asked::new("GET", path);
    if let Some(client) = forwarded_for {
        asked = asked.with("x-forwarded-for", client);
    }
    line.write(asked.head()).await;
    line.answer().await
}

fn upgrade() -> Asked {
    Asked::new("GET", "/v1/ws")
        .with("connection", "Upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", KEY)
}
