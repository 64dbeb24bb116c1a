//! What must never be logged: tokens, tickets, and what messages say. At the most talkative level, with real traffic.

use std::fs;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::dev::{Dev, message};

const TEXT: &str = "the-kettle-sings-at-seven";

#[tokio::test]
async fn no_level_of_logging_tells_tokens_tickets_or_messages() {
    let dev = Dev::start(&[("EDGEWAY__TELEMETRY__LEVEL", "trace"), ("EDGEWAY__TELEMETRY__LOG", "json")]);
    let (alice, bob) = (dev.token("alice").await, dev.token("bob").await);
    let mut secrets = vec![alice.clone(), bob.clone(), TEXT.to_owned()];

    // A token in a header and one in a body, a message by POST, and one that is refused.
    let session = dev.session(&alice, "tea").await;
    let reply = dev.command(&session, &alice, &[], message("tea", "c1", TEXT)).await;
    assert_eq!(reply["type"], "ok", "{reply}");
    dev.command(&session, &alice, &[], json!({ "type": "refresh", "token": alice })).await;
    let wrong = json!({ "type": "send_message", "ref": "x", "dialog_id": "tea", "body": { "text": TEXT } });
    assert_eq!(dev.command(&session, &alice, &[], wrong).await["type"], "error");
    // What does not verify is a token all the same.
    let forged = format!("{}forged", &bob[..bob.len() - 6]);
    assert_eq!(dev.get("/v1/poll", &forged, &[]).await.0, 401);
    secrets.push(forged);

    // A ticket, traded and used.
    let issued = dev.http.post(format!("{}/v1/tickets", dev.public)).bearer_auth(&bob).send().await.unwrap();
    let issued: Value = serde_json::from_str(&issued.text().await.unwrap()).unwrap();
    let ticket = issued["ticket"].as_str().unwrap().to_owned();
    let mut stream =
        dev.http.get(format!("{}/v1/sse?dialogs=tea&ticket={ticket}", dev.public)).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    secrets.push(ticket);

    // A WebSocket with its token in `hello`, that sends and receives.
    let url = format!("{}/v1/ws?dialogs=tea", dev.public.replace("http", "ws"));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for frame in [json!({ "type": "hello", "token": bob }), message("tea", "c2", TEXT)] {
        socket.send(Message::text(frame.to_string())).await.unwrap();
    }
    loop {
        let frame = socket.next().await.unwrap().unwrap();
        if frame.to_text().unwrap().contains("message_new") {
            break;
        }
    }
    let mut seen = String::new();
    while !seen.contains(TEXT) {
        seen.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    dev.ask("/metrics").await;

    let log = fs::read_to_string(&dev.log).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "nothing was told: {log}");
    for secret in secrets {
        // The whole, and what alone would be of use: a token's signature.
        let signature = secret.rsplit('.').next().unwrap_or(&secret);
        let told = log.lines().find(|line| line.contains(&secret) || line.contains(signature));
        assert_eq!(told, None, "the log tells {secret}");
    }
}
