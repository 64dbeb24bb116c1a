//! Sessions of others, and cursors of nowhere.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::answer::CANARY;
use crate::harness::ask::{Asked, Over, TRANSPORTS, Transport, Via, text};
use crate::harness::rows::Rows;
use crate::harness::stage::{Stage, User};

const INVALID: (u16, &str, u16) = (400, "cursor_invalid", 4000);

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    for over in stage.everywhere() {
        let (name, at) = (over.name(), (over.clone(), stage.clone()));
        rows.add(format!("session: guessed and another's, {name}"), foreign_sessions(at.0, at.1));
        for on in TRANSPORTS {
            let at = (over.clone(), stage.clone());
            rows.add(format!("cursor: forged, {on:?}, {name}"), forged_cursors(at.0, at.1, on));
        }
    }
    for over in stage.over_http1() {
        let name = over.name();
        for on in TRANSPORTS {
            let at = (over.clone(), stage.clone());
            rows.add(format!("session: resumed after a removal, {on:?}, {name}"), removed(at.0, at.1, on));
        }
    }
}

/// What isn't there and what is somebody else's is answered alike.
async fn foreign_sessions(over: Over, stage: Arc<Stage>) {
    let alice = stage.user(&over.server, "alice").await;
    let mallory = stage.user(&over.server, "mallory").await;
    let bearer = mallory.bearer();
    let (mut line, welcome) = over.attached("", &alice.bearer()).await;
    let theirs = text(&welcome["session"]);
    let cursor = text(&welcome["cursor"]);
    let mut seen: Vec<Vec<(u16, String)>> = Vec::new();
    for session in ["guessed".to_owned(), "0".repeat(theirs.len()), theirs.clone()] {
        let mut answers = Vec::new();
        for (method, path) in [
            ("GET", format!("/v1/poll?session={session}")),
            ("GET", format!("/v1/poll?session={session}&cursor={cursor}")),
            ("POST", format!("/v1/commands?session={session}")),
            ("DELETE", format!("/v1/sessions/{session}")),
        ] {
            let asked = Asked::new(method, path).with("authorization", &*bearer).json().body("{}");
            let answer = over.ask(&asked).await;
            answer.is_refused(410, "session_gone");
            answers.push((answer.status, answer.body));
        }
        seen.push(answers);
        for attach in ["", "&attach=9"] {
            let query = format!("?session={session}&cursor={cursor}{attach}");
            let (_line, welcome) = over.attached(&query, &bearer).await;
            assert_eq!(welcome["resume"], "expired", "{welcome}");
            assert_ne!(welcome["session"], json!(session), "{welcome}");
            over.ask(&delete(&mallory, &welcome)).await;
        }
        let stream = streamed(&over, &format!("?session={session}"), &[("authorization", &bearer)]).await;
        assert_eq!(stream["resume"], "expired", "{stream}");
        over.ask(&delete(&mallory, &stream)).await;
        let header = [("authorization", &*bearer), ("last-event-id", &*format!("{session}~{cursor}"))];
        let stream = streamed(&over, "", &header).await;
        assert_eq!(stream["resume"], "expired", "{stream}");
        over.ask(&delete(&mallory, &stream)).await;
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "they can be told apart: {seen:?}");
    // And she has noticed nothing.
    line.say(&json!({ "type": "ping", "ref": "mine" })).await;
    assert_eq!(line.hear_answer().await["type"], "pong");
}

async fn forged_cursors(over: Over, stage: Arc<Stage>, on: Transport) {
    let alice = stage.user(&over.server, "alice").await;
    let bearer = alice.bearer();
    let attached = over.session(Transport::Poll, &bearer).await;
    let other = over.session(Transport::Poll, &bearer).await;
    let poll = |session: &str| Asked::new("GET", format!("/v1/poll?session={session}&wait_ms=0"));
    let cursor_of = async |session: &str| {
        text(&over.ask(&poll(session).with("authorization", &*bearer)).await.json()["cursor"])
    };
    let (own, others) = (cursor_of(&attached.session).await, cursor_of(&other.session).await);
    let parts: Vec<&str> = own.split('.').collect();
    let future = format!("{}.{}.{}", parts[0], "zzzzzz", parts[2]);
    let headers = [("authorization", &*bearer)];
    for forged in [
        CANARY,
        "*",
        "..",
        "a.b",
        "-1.0.0",
        "0.0.0.0",
        "%00",
        "%0a",
        "{}",
        "a.b.c.d",
        &"9".repeat(49),
        &"z".repeat(200),
        &format!("{own}x.y"),
        &format!("{own}%20"),
        &future,
    ] {
        let query = format!("?session={}&cursor={forged}", attached.session);
        over.attach_is_refused(on, &query, &headers, INVALID).await;
        if on == Transport::Sse {
            let id = format!("{}~{}", attached.session, forged.replace('%', "$"));
            let headers = [headers[0], ("last-event-id", &*id)];
            over.attach_is_refused(on, "", &headers, INVALID).await;
        }
    }
    // Another session's cursor may not be told from one of this session's past; it does no harm.
    let query = format!("/v1/poll?session={}&cursor={others}&wait_ms=0", attached.session);
    let answer = over.ask(&Asked::new("GET", query).with("authorization", &*bearer)).await;
    assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    // The session is none the worse.
    let query = format!("/v1/poll?session={}&cursor={own}&wait_ms=0", attached.session);
    let answer = over.ask(&Asked::new("GET", query).with("authorization", &*bearer)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// What was queued of a dialog does not come to somebody who was removed meanwhile.
async fn removed(over: Over, stage: Arc<Stage>, on: Transport) {
    let alice = stage.user(&over.server, "alice").await;
    let bob = stage.user(&over.server, "bob").await;
    let (closed, open) = (stage.unique("closed"), stage.unique("open"));
    let members = json!({ "dialog_id": closed, "members": [alice.id, bob.id] }).to_string();
    let made = over.ask(&Asked::new("POST", "/dev/dialogs").json().body(members)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let bearer = alice.bearer();
    let first =
        Asked::new("GET", format!("/v1/poll?dialogs={closed},{open}")).with("authorization", &*bearer);
    let welcome = over.ask(&first).await.json();
    assert_eq!(welcome["resume"], "new", "{welcome}");
    let (session, cursor) = (text(&welcome["session"]), text(&welcome["cursor"]));
    let bobs = over.session(Transport::Poll, &bob.bearer()).await.session;
    let say = async |dialog: &str, words: &str| {
        let id = stage.unique("c");
        let said = json!({ "type": "send_message", "dialog_id": dialog, "client_message_id": id,
            "body": { "text": words } });
        let answer = over.post(&bobs, &bob.bearer(), said.to_string().as_bytes()).await.json();
        assert_eq!(answer["replies"][0]["type"], "ok", "{answer}");
    };
    say(&closed, "secret").await;
    let path = format!("/dev/dialogs/{closed}/members/{}", alice.id);
    assert_eq!(over.ask(&Asked::new("DELETE", path)).await.status, 204);
    say(&open, "marker").await;
    let query = format!("?session={session}&cursor={cursor}");
    let seen = match on {
        Transport::Ws => {
            let (mut line, _) = over.attached(&query, &bearer).await;
            let mut seen = String::new();
            while !seen.contains("marker") {
                seen += &line.hear().await.to_string();
            }
            seen
        }
        Transport::Sse => {
            let mut line = over.line().await;
            line.write(Asked::new("GET", format!("/v1/sse{query}")).with("authorization", &*bearer).head())
                .await;
            line.read_until("marker").await
        }
        Transport::Poll => {
            let mut seen = String::new();
            let mut cursor = cursor;
            while !seen.contains("marker") {
                let path = format!("/v1/poll?session={session}&cursor={cursor}");
                let answer = over.ask(&Asked::new("GET", path).with("authorization", &*bearer)).await;
                cursor = text(&answer.json()["cursor"]);
                seen += &answer.body;
            }
            seen
        }
    };
    assert!(!seen.contains("secret"), "it came after the removal: {seen}");
    // Nor by asking again.
    for said in [
        json!({ "type": "history", "dialog_id": closed, "ref": "h" }),
        json!({ "type": "presence", "dialog_id": closed, "ref": "p" }),
    ] {
        let answer = over.post(&session, &bearer, said.to_string().as_bytes()).await.json();
        assert_eq!(answer["replies"][0]["code"], "not_member", "{answer}");
    }
}

fn delete(user: &User, welcome: &Value) -> Asked {
    let path = format!("/v1/sessions/{}", text(&welcome["session"]));
    Asked::new("DELETE", path).with("authorization", user.bearer())
}

/// The welcome of a stream; the stream ends with it.
async fn streamed(over: &Over, query: &str, headers: &[(&str, &str)]) -> Value {
    let http1 = Over { server: over.server.clone(), via: Via::Http1 };
    let mut asked = Asked::new("GET", format!("/v1/sse{query}"));
    for (name, value) in headers {
        asked = asked.with(name, *value);
    }
    let mut line = http1.line().await;
    line.write(asked.head()).await;
    line.read_until("data: {").await;
    let welcome = format!("{{{}", line.read_until("\n\n").await);
    serde_json::from_str(welcome.trim_end()).expect("JSON")
}
