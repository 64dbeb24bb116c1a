//! Names that are none.

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::harness::ask::{Asked, Over, TRANSPORTS, Transport, refused};
use crate::harness::rows::Rows;
use crate::harness::stage::Stage;

/// 129 characters.
const LONG: &str = match std::str::from_utf8(&[b'a'; 129]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};
const BAD: [&str; 20] = [
    "", " ", "{}", "*", "a\n", "a\nb", "a\0", "%00", "..", "../a", "a/b", "a b", "a{b}", "-a", ".a", "é",
    "a'--", "a\"", "a:log}", LONG,
];

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    for over in stage.everywhere() {
        for on in TRANSPORTS {
            let (over, stage) = (over.clone(), stage.clone());
            rows.add(format!("ids: in commands, {on:?}, {}", over.name()), async move {
                let user = stage.user(&over.server, "ids").await;
                let bearer = user.bearer();
                let mut to = over.session(on, &bearer).await;
                let good = json!({
                    "type": "send_message", "dialog_id": "d", "client_message_id": "c", "reply_to": "m",
                    "body": { "text": "x" }
                });
                for bad in BAD {
                    let mut said = Vec::new();
                    for field in ["dialog_id", "client_message_id", "reply_to"] {
                        let mut command = good.clone();
                        command[field] = bad.into();
                        said.push(command);
                    }
                    said.push(json!({ "type": "typing", "dialog_id": bad, "state": "started" }));
                    said.push(json!({ "type": "read_upto", "dialog_id": bad, "seq": 1 }));
                    said.push(json!({ "type": "history", "dialog_id": bad }));
                    said.push(json!({ "type": "presence", "dialog_id": bad }));
                    said.push(json!({ "type": "unsubscribe", "dialogs": [bad] }));
                    for answer in over.commands(on, &mut to, &bearer, &said).await {
                        assert_eq!(answer["code"], "bad_request", "{bad:?}: {answer}");
                        refused(&answer, "bad_request");
                    }
                }
                // In a list each fails alone, and what is good beside it is done.
                let mut dialogs: Vec<_> = BAD.iter().map(|bad| json!(bad)).collect();
                dialogs.extend([json!("good"), json!(7), json!({ "dialog_id": 7 }), json!(null), json!([])]);
                dialogs.push(json!({ "dialog_id": "since", "since": { "epoch": "e", "offset": -1 } }));
                let subscribe = json!({ "type": "subscribe", "ref": "s", "dialogs": dialogs }).to_string();
                let answer = over.command(on, &mut to, &bearer, subscribe.as_bytes()).await;
                assert_eq!(answer["dialogs"][0]["dialog_id"], "good", "{answer}");
                let failed = answer["failed"].as_array().expect("failed");
                assert_eq!(failed.len(), dialogs_that_fail(), "{answer}");
                assert!(failed.iter().all(|entry| entry["code"] == "bad_request"), "{answer}");
            });
        }
        add_attaches(rows, stage, &over);
    }
}

/// What fails in the list above.
fn dialogs_that_fail() -> usize {
    BAD.len() + 5
}

/// The same in paths and queries, as far as they can stand there.
fn add_attaches(rows: &mut Rows, stage: &Arc<Stage>, over: &Over) {
    let (over, stage) = (over.clone(), stage.clone());
    rows.add(format!("ids: in requests, {}", over.name()), async move {
        let user = stage.user(&over.server, "ids").await;
        let bearer = user.bearer();
        let headers = [("authorization", &*bearer)];
        let mut requests = over.open().await;
        for bad in BAD.into_iter().filter(|bad| !bad.is_empty()) {
            let bad: String = utf8_percent_encode(bad, NON_ALPHANUMERIC).to_string();
            for (method, path, status, code) in [
                // A session that can't be is one that isn't.
                ("DELETE", format!("/v1/sessions/{bad}"), 410, "session_gone"),
                ("POST", format!("/v1/commands?session={bad}"), 410, "session_gone"),
                ("GET", format!("/v1/poll?session={bad}"), 410, "session_gone"),
                ("GET", format!("/v1/poll?device_id={bad}"), 400, "bad_request"),
                ("GET", format!("/v1/sse?device_id={bad}"), 400, "bad_request"),
                ("GET", format!("/v1/poll?attach={bad}"), 400, "bad_request"),
            ] {
                let asked = Asked::new(method, path).with("authorization", &*bearer);
                requests.ask(&asked).await.is_refused(status, code);
            }
            let refused = (400, "bad_request", 4000);
            over.attach_is_refused(Transport::Ws, &format!("?device_id={bad}"), &headers, refused).await;
        }
        for bad in ["%7B%7D", "%2A", "%00", "..", LONG] {
            let (_line, welcome) = over.attached(&format!("?session={bad}"), &bearer).await;
            assert_eq!(welcome["resume"], "expired", "{welcome}");
        }
        for on in TRANSPORTS {
            let refused = (400, "bad_request", 4000);
            let many: Vec<String> = (0..51).map(|n| format!("d{n}")).collect();
            over.attach_is_refused(on, &format!("?dialogs={}", many.join(",")), &headers, refused).await;
            for count in ["-1", "1.5", "9007199254740993", "99999999999999999999", ""] {
                over.attach_is_refused(on, &format!("?attach={count}"), &headers, refused).await;
            }
        }
        for wait in ["x", "1.5", "1e3", "", "0x10"] {
            let asked = Asked::new("GET", format!("/v1/poll?wait_ms={wait}"));
            over.ask(&asked.with("authorization", &*bearer)).await.is_refused(400, "bad_request");
        }
    });
}
