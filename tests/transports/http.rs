//! HTTP's own refusals, and browsers' origins.

use reqwest::Method;
use serde_json::json;

use crate::harness::attach::Attach;
use crate::harness::check;
use crate::harness::raw::RawConnection;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;
use crate::harness::ws_line::WsLine;

on_every_transport! {
    a_foreign_origin_is_forbidden,
    the_servers_own_origin_is_served,
}

once! {
    a_foreign_origin_is_forbidden_on_every_path,
    an_unknown_path_is_not_found,
    a_wrong_method_is_told_which_is_right,
    a_head_attaches_nobody,
    an_unknown_path_is_not_found_by_any_method,
    a_head_above_16_kib_is_refused,
    a_request_without_host_is_refused,
    a_body_with_two_framings_is_refused,
}

const FOREIGN: [&str; 6] = [
    "https://evil.example",
    "null",
    "http://127.0.0.1.evil.example",
    "https://127.0.0.1",
    "http://127.0.0.1:1",
    "http://127.0.0.1:1@evil.example",
];

async fn a_head_attaches_nobody() {
    let alice = Stage::shared().user("alice").await;
    let mut client = alice.attach(Transport::Ws).await;
    let attach = Attach::new().session(client.session());
    for path in ["/v1/sse", "/v1/poll"] {
        let response = alice.ask(Method::HEAD, path, &attach, "answer to a HEAD").await;
        assert_eq!(response.status(), 405, "{path}");
        assert_eq!(response.headers()["allow"], "GET", "{path}");
    }
    client.ok(json!({ "type": "ping" })).await;
}

async fn an_unknown_path_is_not_found_by_any_method() {
    let alice = Stage::shared().user("alice").await;
    for method in [Method::GET, Method::POST, Method::DELETE] {
        for path in ["/nope", "/v1/nope"] {
            let response = alice.ask(method.clone(), path, &Attach::new(), "answer").await;
            assert_eq!(response.status(), 404, "{method} {path}");
        }
    }
}

async fn a_foreign_origin_is_forbidden(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    for origin in FOREIGN {
        match alice.try_attach(on, Attach::new().origin(origin)).await {
            Err(ended) => {
                ended.assert_refused("forbidden");
                assert_eq!(ended.status, Some(403), "before any upgrade: {ended:?}");
            }
            Ok(client) => panic!("the origin {origin:?} was served: {client}"),
        }
    }
}

async fn the_servers_own_origin_is_served(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let own = format!("http://{}", alice.stage().server().address());
    assert_eq!(alice.attach_with(on, Attach::new().origin(&own)).await.resume(), "new");
    if on == Transport::Ws {
        let opened = WsLine::open(&alice, &Attach::new().origin(&own)).await;
        opened.unwrap_or_else(|ended| panic!("no upgrade: {ended:?}"));
        return;
    }
    let attach = Attach::new().origin(&own);
    let response = alice.ask(Method::GET, on.path(), &attach, "answer to an allowed origin").await;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("access-control-allow-origin"), Some(own.as_str()), "{response:?}");
    let vary = header("vary").unwrap_or_default().to_ascii_lowercase();
    assert!(vary.contains("origin"), "Vary has Origin: {response:?}");
    assert_eq!(header("access-control-allow-credentials"), None, "without a cookie: {response:?}");
}

async fn a_foreign_origin_is_forbidden_on_every_path() {
    let alice = Stage::shared().user("alice").await;
    let session = alice.attach(Transport::Sse).await.cut().session;
    let foreign = Attach::new().origin("https://evil.example");
    for (method, path) in [
        (Method::GET, "/v1/ws".to_owned()),
        (Method::GET, "/v1/sse".to_owned()),
        (Method::GET, "/v1/poll".to_owned()),
        (Method::POST, format!("/v1/commands?session={session}")),
        (Method::POST, "/v1/tickets".to_owned()),
        (Method::DELETE, format!("/v1/sessions/{session}")),
        (Method::GET, "/v1/nowhere".to_owned()),
        (Method::GET, "/v1/".to_owned()),
        (Method::GET, "/v1".to_owned()),
    ] {
        let response = alice.ask(method, &path, &foreign, "answer to a foreign origin").await;
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{path}: {response:?}");
        alice.refusal(response).await.assert_refused("forbidden");
    }
    let answer = alice.post(&session, &json!({ "type": "ping" })).await;
    assert_eq!(answer.replies()[0]["type"], "pong", "nothing was done: {answer:?}");
}

async fn an_unknown_path_is_not_found() {
    let alice = Stage::shared().user("alice").await;
    for path in ["/v1/nothing", "/v1/ws/x", "/v1", "/v2/poll", "/v1/sessions/"] {
        let answer = alice.call(Method::GET, path, None).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        check::error(&answer.body, "not_found");
    }
}

async fn a_wrong_method_is_told_which_is_right() {
    let alice = Stage::shared().user("alice").await;
    for (method, path, right) in [
        (Method::DELETE, "/v1/sse", "GET"),
        (Method::POST, "/v1/poll", "GET"),
        (Method::PUT, "/v1/ws", "GET, CONNECT"),
        (Method::GET, "/v1/commands?session=x", "POST"),
        (Method::GET, "/v1/tickets", "POST"),
        (Method::GET, "/v1/sessions/x", "DELETE"),
    ] {
        let response = alice.ask(method, path, &Attach::new(), "answer to a wrong method").await;
        assert_eq!(response.status(), 405, "{path}: {response:?}");
        let allow = response.headers().get("allow").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(allow, right, "{path}: {response:?}");
        let refusal = alice.refusal(response).await;
        check::error(&refusal.error.unwrap_or_default(), "bad_request");
    }
}

async fn a_head_above_16_kib_is_refused() {
    let stage = Stage::shared();
    let mut connection = RawConnection::open(&stage).await;
    let long = "x".repeat(17 * 1024);
    connection.request("GET /v1/poll", &[("x-long", &long)]).await;
    assert_eq!(connection.answer().await.status, 431);
}

async fn a_request_without_host_is_refused() {
    let mut connection = RawConnection::open(&Stage::shared()).await;
    connection.write(b"GET /v1/poll HTTP/1.1\r\n\r\n").await;
    assert_eq!(connection.answer().await.status, 400);
}

async fn a_body_with_two_framings_is_refused() {
    let alice = Stage::shared().user("alice").await;
    let session = alice.attach(Transport::Poll).await.cut().session;
    let mut connection = RawConnection::open(alice.stage()).await;
    let authorization = format!("Bearer {}", alice.token());
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
        ("content-length", "4"),
        ("transfer-encoding", "chunked"),
    ];
    connection.request(&format!("POST /v1/commands?session={session}"), &headers).await;
    connection.write(b"0\r\n\r\n").await;
    // RFC 9112 §6.1: an error, or taken as chunked and the connection closed. An empty body is an error either way.
    assert_eq!(connection.answer().await.status, 400);
}
