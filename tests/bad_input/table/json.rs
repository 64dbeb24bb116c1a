//! What is said, not how: JSON, and the fields of commands.

use std::sync::Arc;

use serde_json::json;

use crate::harness::answer::CANARY;
use crate::harness::ask::{Over, TRANSPORTS, Transport, refused};
use crate::harness::rows::Rows;
use crate::harness::stage::Stage;

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    let send = |text: &str| {
        let id = format!("{CANARY}1");
        format!(
            r#"{{"type":"send_message","dialog_id":"d","client_message_id":"{id}","body":{{"text":"{text}"}}}}"#
        )
    };
    let deep = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let attachment = json!({ "id": "a", "name": "n", "mime": "m", "size": 1 });
    let mut attachments =
        json!({ "type": "send_message", "dialog_id": "d", "client_message_id": "c", "body": {} });
    attachments["body"]["attachments"] = vec![attachment; 11].into();
    let cases: Vec<(&str, String, &str)> = vec![
        ("nothing", String::new(), "bad_request"),
        ("no JSON", CANARY.to_owned(), "bad_request"),
        ("17 deep", format!(r#"{{"type":"ping","x":{}}}"#, deep(16)), "bad_request"),
        ("10,000 deep", format!(r#"{{"type":"ping","x":{}"#, "[".repeat(10_000)), "bad_request"),
        ("a key twice", format!(r#"{{"type":"ping","{CANARY}":1,"{CANARY}":2}}"#), "bad_request"),
        ("the type twice", r#"{"type":"ping","type":"bye"}"#.to_owned(), "bad_request"),
        ("a key twice by an escape", r#"{"type":"ping","x":1,"\u0078":2}"#.to_owned(), "bad_request"),
        ("something behind it", r#"{"type":"ping"}{"type":"bye"}"#.to_owned(), "bad_request"),
        ("a comma behind it", r#"{"type":"ping"},"#.to_owned(), "bad_request"),
        ("a byte order mark", "\u{feff}{\"type\":\"ping\"}".to_owned(), "bad_request"),
        ("NUL behind it", "{\"type\":\"ping\"}\0".to_owned(), "bad_request"),
        ("a raw control character", "{\"type\":\"ping\",\"x\":\"a\u{1}b\"}".to_owned(), "bad_request"),
        ("a lone surrogate", send(r"\ud800"), "bad_request"),
        ("two surrogates in the wrong order", send(r"\udc00\ud800"), "bad_request"),
        ("NUL in a text", send(r"a\u0000b"), "bad_request"),
        ("a bell in a text", send(r"a\u0007b"), "bad_request"),
        ("DEL in a text", send(r"a\u007fb"), "bad_request"),
        ("C1 in a text", send(r"a\u0085b"), "bad_request"),
        ("a carriage return in a text", send(r"a\rb"), "bad_request"),
        ("an empty text", send(""), "bad_request"),
        ("a text of 4,097 characters", send(&"é".repeat(4097)), "bad_request"),
        ("eleven attachments", attachments.to_string(), "bad_request"),
        ("a text that is a number", send("x").replace("\"x\"", "1"), "bad_request"),
        (
            "no body",
            r#"{"type":"send_message","dialog_id":"d","client_message_id":"c"}"#.to_owned(),
            "bad_request",
        ),
        ("an unknown type", format!(r#"{{"type":"{CANARY}"}}"#), "unknown_type"),
        ("an empty type", r#"{"type":""}"#.to_owned(), "unknown_type"),
        ("a type in capitals", r#"{"type":"PING"}"#.to_owned(), "unknown_type"),
        ("a type that is a number", r#"{"type":7}"#.to_owned(), "bad_request"),
        ("a type that is null", r#"{"type":null}"#.to_owned(), "bad_request"),
        ("no type", r#"{"ref":"1"}"#.to_owned(), "bad_request"),
        ("a ref of 65", format!(r#"{{"type":"ping","ref":"{}"}}"#, "r".repeat(65)), "bad_request"),
        ("an empty ref", r#"{"type":"ping","ref":""}"#.to_owned(), "bad_request"),
        ("a ref that is a number", r#"{"type":"ping","ref":1}"#.to_owned(), "bad_request"),
        ("a ref that is not ASCII", r#"{"type":"ping","ref":"é"}"#.to_owned(), "bad_request"),
        ("a ref with a newline", r#"{"type":"ping","ref":"a\nb"}"#.to_owned(), "bad_request"),
        ("a number above all", r#"{"type":"ping","x":1e999}"#.to_owned(), "bad_request"),
        ("a negative seq", read_upto("-1"), "bad_request"),
        ("a seq of 2^53 + 1", read_upto("9007199254740993"), "bad_request"),
        ("a seq of 2^64", read_upto("18446744073709551616"), "bad_request"),
        ("a seq of 400 digits", read_upto(&"9".repeat(400)), "bad_request"),
        ("a seq with a fraction", read_upto("1.5"), "bad_request"),
        ("a seq that is a text", read_upto("\"1\""), "bad_request"),
        ("no seq", r#"{"type":"read_upto","dialog_id":"d"}"#.to_owned(), "bad_request"),
        ("a negative limit", r#"{"type":"history","dialog_id":"d","limit":-1}"#.to_owned(), "bad_request"),
        (
            "both ways",
            r#"{"type":"history","dialog_id":"d","before_seq":9,"after_seq":1}"#.to_owned(),
            "bad_request",
        ),
        ("a since without offset", r#"{"type":"subscribe","dialogs":"d"}"#.to_owned(), "bad_request"),
        (
            "201 dialogs",
            json!({ "type": "subscribe", "dialogs": many_dialogs(201) }).to_string(),
            "bad_request",
        ),
        ("no dialogs", r#"{"type":"subscribe"}"#.to_owned(), "bad_request"),
        ("all that is no bool", r#"{"type":"subscribe","all":"yes"}"#.to_owned(), "bad_request"),
        ("a state of nobody", r#"{"type":"status","state":"zqCanary7"}"#.to_owned(), "bad_request"),
        ("a cursor that is none", format!(r#"{{"type":"ack","cursor":"{CANARY}"}}"#), "cursor_invalid"),
        ("a token that is none", format!(r#"{{"type":"refresh","token":"{CANARY}"}}"#), "unauthorized"),
        ("a second hello", r#"{"type":"hello","token":"x"}"#.to_owned(), "bad_request"),
    ];
    for over in stage.everywhere() {
        for on in TRANSPORTS {
            let (over, stage, cases) = (over.clone(), stage.clone(), cases.clone());
            rows.add(format!("json: {on:?}, {}", over.name()), async move {
                let user = stage.user(&over.server, "json").await;
                let bearer = user.bearer();
                let mut to = over.session(on, &bearer).await;
                // One session takes it all: nothing of it ends the connection.
                for (what, said, code) in cases {
                    let answer = over.command(on, &mut to, &bearer, said.as_bytes()).await;
                    let told = answer["code"] == code;
                    assert!(told, "{what} should be {code}: {answer}");
                    refused(&answer, code);
                }
                let pong = over.command(on, &mut to, &bearer, br#"{"type":"ping","ref":"still here"}"#).await;
                assert_eq!((&pong["type"], &pong["ref"]), (&json!("pong"), &json!("still here")), "{pong}");
            });
        }
        add_batches(rows, stage, &over);
    }
}

fn read_upto(seq: &str) -> String {
    format!(r#"{{"type":"read_upto","dialog_id":"d","seq":{seq}}}"#)
}

fn many_dialogs(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("d{n}")).collect()
}

fn add_batches(rows: &mut Rows, stage: &Arc<Stage>, over: &Over) {
    let pings = |count: usize| format!("[{}]", vec![r#"{"type":"ping"}"#; count].join(","));
    let send = r#"{"type":"send_message","dialog_id":"batch","client_message_id":"c","body":{"text":"x"}}"#;
    let cases = [
        ("65 commands", pings(65)),
        ("no commands", "[]x".to_owned()),
        ("a number", "1".to_owned()),
        ("a text", format!("\"{CANARY}\"")),
        ("a batch cut short", format!("[{send},")),
        ("one that is malformed", format!("[{send},{{\"type\":}}]")),
        ("bytes that are no UTF-8", "[\u{fffd}]".to_owned()),
    ];
    let (over, stage) = (over.clone(), stage.clone());
    rows.add(format!("json: batches, {}", over.name()), async move {
        let user = stage.user(&over.server, "batch").await;
        let bearer = user.bearer();
        let to = over.session(Transport::Poll, &bearer).await;
        for (_, body) in cases {
            over.post(&to.session, &bearer, body.as_bytes()).await.is_refused(400, "bad_request");
        }
        over.post(&to.session, &bearer, b"[\"\xff\"]").await.is_refused(400, "bad_request");
        // What is refused as a whole has done nothing: the id is still free.
        let first = over.post(&to.session, &bearer, send.as_bytes()).await.json();
        assert_eq!(first["replies"][0]["duplicate"], false, "{first}");
        // What is wrong with one command is that command's alone.
        let mixed = r#"[7,{"type":"ping"},[],{"type":"x"}]"#;
        let replies = over.post(&to.session, &bearer, mixed.as_bytes()).await.json();
        let replies = replies["replies"].as_array().expect("replies");
        assert_eq!(replies.len(), 4);
        for (index, code) in [(0, "bad_request"), (2, "bad_request"), (3, "unknown_type")] {
            refused(&replies[index], code);
        }
        assert_eq!(replies[1]["type"], "pong");
    });
}
