//! A request's trace, from its client to the Store and to a collector.

use std::fs;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::behind::{Call, collector, store};
use crate::dev::{Dev, message};
use crate::program::{Program, edgeway};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn spans_of_a_clients_trace_are_exported_and_the_last_ones_on_the_way_out() {
    let (address, spans) = collector().await;
    let endpoint = format!("http://{address}");
    let dev = Dev::start(&[("EDGEWAY__TELEMETRY__OTLP_ENDPOINT", &endpoint)]);
    let token = dev.token("alice").await;
    let session = dev.session(&token, "tea").await;
    let said = "the-kettle-sings-at-seven";
    let reply =
        dev.command(&session, &token, &[("traceparent", TRACEPARENT)], message("tea", "c1", said)).await;
    assert_eq!(reply["type"], "ok", "{reply}");
    // Well before the next batch is due: leaving sends what waits.
    dev.program.terminate();

    let spans = spans.with("the call of Send", |span| span.name == "Send").await;
    let command = spans.iter().find(|span| span.name == "send_message").expect("the command");
    assert_eq!(
        (hex(&command.trace_id), hex(&command.parent_span_id)),
        (TRACE.into(), "00f067aa0ba902b7".into())
    );
    let call = spans.iter().find(|span| span.name == "Send").expect("the call");
    assert_eq!((hex(&call.trace_id), &call.parent_span_id), (TRACE.into(), &command.span_id));
    let attach = spans.iter().find(|span| span.name == "attach").expect("the attach");
    assert_ne!(hex(&attach.trace_id), TRACE, "that was another request");
    let all = format!("{spans:?}");
    assert!(!all.contains(said) && !all.contains(&token), "{all}");
}

/// A node without anything but a Store.
struct Node {
    program: Program,
    public: String,
    token: String,
    _directory: tempfile::TempDir,
}

fn start(store: std::net::SocketAddr) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let mut mint = edgeway();
    mint.args(["token", "--user", "alice", "--issuer", "traces", "--audience", "traces"]);
    mint.arg("--key-file").arg(file("key.pem")).arg("--jwks-file").arg(file("jwks.json"));
    let minted = mint.output().unwrap();
    assert!(minted.status.success(), "{}", String::from_utf8_lossy(&minted.stderr));
    let config = json!({
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "auth": { "jwks_file": file("jwks.json"), "issuer": "traces", "audience": "traces" },
        "store": { "endpoint": format!("http://{store}") },
        "bus": { "kind": "memory" },
    });
    // JSON is YAML.
    fs::write(file("config.yaml"), config.to_string()).unwrap();
    let mut serve = edgeway();
    serve.arg("serve").arg("--config").arg(file("config.yaml"));
    let program = Program::start(serve, &file("node.log"));
    let public = program.first_line().split("http://").nth(1).unwrap().split('/').next().unwrap();
    let public = format!("http://{public}");
    let token = String::from_utf8(minted.stdout).unwrap().trim().to_owned();
    Node { program, public, token, _directory: directory }
}

fn value<'c>(call: &'c Call, name: &str) -> &'c str {
    call.1.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", call.1)).to_str().unwrap()
}

#[tokio::test]
async fn every_call_of_the_store_carries_trace_request_and_session() {
    let (address, calls) = store().await;
    let node = start(address);
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let headers =
        [("traceparent", TRACEPARENT), ("x-request-id", "req-7"), ("tracestate", "rojo=1, congo=2")];
    let poll = http.get(format!("{}/v1/poll?dialogs=tea", node.public)).bearer_auth(&node.token);
    let poll = poll.header(headers[0].0, headers[0].1).header(headers[1].0, headers[1].1);
    let poll = poll.header(headers[2].0, headers[2].1);
    let welcome: Value = serde_json::from_str(&poll.send().await.unwrap().text().await.unwrap()).unwrap();
    let session = welcome["session"].as_str().unwrap_or_else(|| panic!("{welcome}"));
    let asked = calls.with("a question about membership", |(method, _)| *method == "CheckMembership").await;
    let asked = asked.iter().find(|(method, _)| *method == "CheckMembership").unwrap();
    assert_eq!(value(asked, "x-request-id"), "req-7");
    assert_eq!(value(asked, "x-session-id"), session);
    assert!(value(asked, "traceparent").starts_with(&format!("00-{TRACE}-")), "{asked:?}");
    assert_ne!(value(asked, "traceparent"), TRACEPARENT, "a span of its own");
    assert_eq!(value(asked, "tracestate"), "rojo=1,congo=2");

    // By WebSocket: the trace is that of the request that opened it, the request id is each command's own.
    let url = format!("{}/v1/ws?session={session}", node.public.replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", node.token).parse().unwrap());
    for (name, text) in [headers[0], headers[2]] {
        request.headers_mut().insert(name, text.parse().unwrap());
    }
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.send(Message::text(message("tea", "c1", "Kettle is on.").to_string())).await.unwrap();
    let sent = calls.with("a message", |(method, _)| *method == "Send").await;
    let sent = sent.iter().find(|(method, _)| *method == "Send").unwrap();
    assert!(value(sent, "traceparent").starts_with(&format!("00-{TRACE}-")), "{sent:?}");
    assert_eq!(value(sent, "x-session-id"), session);
    assert_eq!(value(sent, "tracestate"), "rojo=1,congo=2");
    assert_eq!(value(sent, "x-request-id").len(), 36, "a UUID: {sent:?}");

    // Who names no trace gets one all the same.
    let bare = http.post(format!("{}/v1/commands?session={session}", node.public)).bearer_auth(&node.token);
    let bare = bare.header("content-type", "application/json");
    let bare = bare.body(message("tea", "c2", "Milk?").to_string()).send().await.unwrap();
    assert_eq!(bare.status(), 200);
    let all =
        calls.with("another message", |call| call.0 == "Send" && !value(call, "traceparent").contains(TRACE));
    let all = all.await;
    let other =
        all.iter().find(|call| call.0 == "Send" && !value(call, "traceparent").contains(TRACE)).unwrap();
    assert!(value(other, "traceparent").ends_with("-00"), "not recorded: {other:?}");
    assert!(other.1.get("tracestate").is_none(), "{other:?}");
    assert!(node.program.ended().is_none());
}
