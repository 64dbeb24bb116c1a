//! More than one may have, and what is another's.

use std::sync::Arc;

use serde_json::json;

use crate::harness::ask::{Over, TRANSPORTS, Via, refused};
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
}
