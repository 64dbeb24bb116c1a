//! The admin listener of a real process.

use std::time::Duration;

use prost::Message;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::dev::Dev;
use crate::program::edgeway;

/// An answer that is an error of the protocol.
fn code(body: &str) -> String {
    let error: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {body}"));
    assert_eq!(error["type"], "error", "{body}");
    assert!(error["message"].is_string() && error["retryable"].is_boolean(), "{body}");
    error["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_development_node_tells_its_health_and_its_sessions() {
    let dev = Dev::start(&[]);
    for path in ["/livez", "/healthz"] {
        assert_eq!(dev.ask(path).await, (200, "ok\n".to_owned()));
    }
    dev.until_ready().await;
    let (status, ready) = dev.ask("/readyz").await;
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!((status, ready), (200, json!({ "ready": true, "failing": [] })));
    dev.session(&dev.token("alice").await, "tea").await;
    let (status, sessions) = dev.ask("/debug/sessions").await;
    let sessions: Value = serde_json::from_str(&sessions).unwrap();
    let expected = json!({ "attached": { "ws": 0, "sse": 0, "poll": 0 }, "detached": 1 });
    assert_eq!((status, sessions), (200, expected));
}

#[tokio::test]
async fn the_program_itself_asks_for_the_health_of_a_node() {
    let dev = Dev::start(&[]);
    let address = dev.admin.trim_start_matches("http://").to_owned();
    let ask = |more: &[&str]| edgeway().args(["health", "--admin", &address]).args(more).output().unwrap();
    dev.until_ready().await;
    for more in [&[][..], &["--ready"]] {
        let asked = ask(more);
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    }
    dev.program.kill();
    let asked = ask(&[]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&asked.stderr).contains("no answer"), "{asked:?}");
}

#[tokio::test]
async fn what_the_admin_listener_does_not_take_is_answered_with_an_error_object() {
    let dev = Dev::start(&[]);
    dev.until_ready().await;
    let url = |path: &str| format!("{}{path}", dev.admin);
    let post = |body: &str| dev.http.post(url("/admin/disconnect")).body(body.to_owned());
    let long = format!("{{\"user_id\":\"{}\"}}", "a".repeat(5000));
    for (request, status, expected) in [
        (dev.http.get(url("/nothing")), 404, "not_found"),
        (dev.http.get(url("/v1/poll")), 404, "not_found"),
        (dev.http.post(url("/metrics")), 405, "bad_request"),
        (dev.http.delete(url("/readyz")), 405, "bad_request"),
        (dev.http.get(url("/admin/disconnect")), 405, "bad_request"),
        (post(""), 400, "bad_request"),
        (post("{}"), 400, "bad_request"),
        (post("{\"user_id\":7}"), 400, "bad_request"),
        (post("{\"user_id\":\"a b\"}"), 400, "bad_request"),
        (post("{\"user_id\":\"\"}"), 400, "bad_request"),
        (post(&long), 413, "too_large"),
        (post("{\"user_id\":\"alice\"}").header("origin", "http://127.0.0.1:9090"), 403, "forbidden"),
        (dev.http.get(url("/debug/pprof/profile?seconds=0")), 400, "bad_request"),
        (dev.http.get(url("/debug/pprof/profile?seconds=-1")), 400, "bad_request"),
        (dev.http.get(url("/debug/pprof/profile?seconds=121")), 400, "bad_request"),
        (dev.http.get(url("/debug/pprof/profile?seconds=ten")), 400, "bad_request"),
        (dev.http.get(url("/debug/pprof/profile?seconds=1&seconds=2")), 400, "bad_request"),
        (dev.http.get(url("/debug/pprof/profile?format=gif")), 400, "bad_request"),
    ] {
        let asked = format!("{request:?}");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{asked}");
        assert_eq!(answer.headers().contains_key("allow"), status == 405, "{asked}");
        assert_eq!(code(&answer.text().await.unwrap()), expected, "{asked}");
    }
    // Whoever did all that has harmed nobody.
    assert_eq!(dev.ask("/readyz").await.0, 200);
    assert_eq!(dev.program.ended(), None);
}

/// Far more than it takes.
const TAKEN_OUT_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_operator_disconnects_a_user_and_nobody_else() {
    let dev = Dev::start(&[]);
    let (alice, bob) = (dev.token("alice").await, dev.token("bob").await);
    let open = |token: &str| {
        let request = dev.http.get(format!("{}/v1/sse?dialogs=tea", dev.public)).bearer_auth(token);
        async { request.send().await.unwrap() }
    };
    let (kicked, stays) = (open(&alice).await, open(&bob).await);
    assert_eq!((kicked.status().as_u16(), stays.status().as_u16()), (200, 200));
    let request = dev.http.post(format!("{}/admin/disconnect", dev.admin));
    let answer = request.header("content-type", "application/json").body(r#"{"user_id":"alice"}"#);
    assert_eq!(answer.send().await.unwrap().status(), 204);
    let all = kicked.text().await.unwrap();
    assert!(all.contains(r#""type":"goaway","reason":"kicked""#), "{all}");
    // What has ended is taken out of everything a moment after its client has heard of it.
    let left = json!({ "attached": { "ws": 0, "sse": 1, "poll": 0 }, "detached": 0 });
    let began = Instant::now();
    loop {
        let sessions: Value = serde_json::from_str(&dev.ask("/debug/sessions").await.1).unwrap();
        if sessions == left {
            break;
        }
        assert!(began.elapsed() < TAKEN_OUT_WITHIN, "{sessions}");
    }
    drop(stays);
}

/// As much of pprof's `profile.proto` as this looks at.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(bytes = "vec", repeated, tag = "2")]
    samples: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    functions: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "6")]
    strings: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(int64, tag = "12")]
    period: i64,
}

/// Keeps the process busy for a while, so that there is something to see.
async fn keep_busy(dev: &Dev) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(900) {
        dev.ask("/metrics").await;
    }
}

#[tokio::test]
async fn a_cpu_profile_is_taken_one_at_a_time() {
    let dev = Dev::start(&[]);
    let ask = |query: &str| {
        let asked = dev.http.get(format!("{}/debug/pprof/profile?seconds=1{query}", dev.admin)).send();
        async {
            let answer = asked.await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap())
        }
    };
    // On a busy machine the process may not have run within that second: then there was nothing to see.
    for attempt in 1.. {
        assert!(attempt <= 10, "nothing was seen in so many profiles");
        let (one, other, ()) = tokio::join!(ask(""), ask(""), keep_busy(&dev));
        let (taken, refused) = if one.0 == 200 { (one, other) } else { (other, one) };
        assert_eq!((taken.0, refused.0), (200, 409), "one profile is taken, and one refused");
        assert_eq!(code(std::str::from_utf8(&refused.1).unwrap()), "conflict");
        let profile = Profile::decode(taken.1).unwrap();
        assert_eq!(profile.strings[0], "");
        assert!(profile.duration_nanos >= 1_000_000_000 && profile.period > 0);
        if profile.strings.iter().any(|name| name.contains("edgeway::")) {
            assert!(!profile.samples.is_empty() && !profile.functions.is_empty());
            break;
        }
    }

    let ((status, flames), ()) = tokio::join!(ask("&format=flamegraph"), keep_busy(&dev));
    let flames = String::from_utf8_lossy(&flames);
    assert_eq!(status, 200, "{flames}");
    assert!(flames.contains("<svg") && flames.trim_end().ends_with("</svg>"), "{flames}");
}
