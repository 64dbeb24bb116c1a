//! What is wrong with a WebSocket's request: told by HTTP, before any upgrade.

use std::sync::Arc;

use crate::harness::answer::CANARY;
use crate::harness::ask::{Asked, KEY};
use crate::harness::rows::Rows;
use crate::harness::stage::Stage;

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    let good = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    for over in stage.over_http1() {
        for (what, header, value, status) in [
            ("an old version", "sec-websocket-version", "8", 426),
            ("a version that is none", "sec-websocket-version", CANARY, 426),
            ("no version", "sec-websocket-version", "", 426),
            ("a short key", "sec-websocket-key", "c2hvcnQ=", 400),
            ("a key that is none", "sec-websocket-key", "????????????????????????", 400),
            ("no key", "sec-websocket-key", "", 400),
            ("another protocol", "upgrade", CANARY, 400),
            ("no upgrade", "upgrade", "", 400),
            ("no connection", "connection", "keep-alive", 400),
            ("another subprotocol", "sec-websocket-protocol", CANARY, 400),
            ("a later subprotocol", "sec-websocket-protocol", "edgeway.v2", 400),
        ] {
            let over = over.clone();
            rows.add(format!("upgrade: {what}, {}", over.name()), async move {
                let mut asked = Asked::new("GET", "/v1/ws");
                for (name, kept) in good.into_iter().filter(|(name, _)| *name != header) {
                    asked = asked.with(name, kept);
                }
                if !value.is_empty() {
                    asked = asked.with(header, value);
                }
                let answer = over.ask(&asked).await;
                answer.is_refused(status, "bad_request");
                if status == 426 {
                    assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{answer:?}");
                    assert_eq!(answer.header("upgrade"), Some("websocket"), "{answer:?}");
                }
            });
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let over = over.clone();
            rows.add(format!("upgrade: {method}, {}", over.name()), async move {
                let mut asked = Asked::new(method, "/v1/ws");
                for (name, value) in good {
                    asked = asked.with(name, value);
                }
                let answer = over.ask(&asked).await;
                answer.is_refused(405, "bad_request");
                assert!(answer.header("allow").is_some_and(|allow| allow.starts_with("GET")), "{answer:?}");
            });
        }
    }
    for over in stage.over_http2() {
        let name = over.name();
        rows.add(format!("upgrade: what is no extended CONNECT, {name}"), async move {
            let uri = format!("{}://edge.test/v1/ws", over.server.scheme());
            let version = [("sec-websocket-version", "13")];
            let refused =
                |answer: Result<_, crate::harness::answer::Answer>| answer.err().expect("no upgrade");
            let other = over.http2().await.connect("connect-udp", &uri, &version).await;
            refused(other).is_refused(400, "bad_request");
            let old = over.http2().await.connect("websocket", &uri, &[("sec-websocket-version", "8")]).await;
            let old = refused(old);
            old.is_refused(426, "bad_request");
            assert_eq!(old.header("sec-websocket-version"), Some("13"), "{old:?}");
            let offer = [version[0], ("sec-websocket-protocol", CANARY)];
            refused(over.http2().await.connect("websocket", &uri, &offer).await)
                .is_refused(400, "bad_request");
            over.ask(&Asked::new("GET", "/v1/ws")).await.is_refused(400, "bad_request");
            let put = over.ask(&Asked::new("PUT", "/v1/ws")).await;
            put.is_refused(405, "bad_request");
        });
    }
}
