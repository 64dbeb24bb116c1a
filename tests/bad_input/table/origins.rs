//! Pages of others, and what a browser asks first.

use std::sync::Arc;

use crate::harness::answer::CANARY;
use crate::harness::ask::{Asked, Via};
use crate::harness::rows::Rows;
use crate::harness::server::NAME;
use crate::harness::stage::Stage;

const PATHS: [(&str, &str); 8] = [
    ("GET", "/v1/ws"),
    ("GET", "/v1/sse"),
    ("GET", "/v1/poll"),
    ("POST", "/v1/commands?session=x"),
    ("POST", "/v1/tickets"),
    ("DELETE", "/v1/sessions/x"),
    // Nor does it learn what there is and what isn't.
    ("GET", "/v1/nothing"),
    ("PUT", "/v1/poll"),
];

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    for over in stage.everywhere() {
        for (method, path) in PATHS {
            let name = over.name();
            let foreign = over.clone();
            rows.add(format!("origin: foreign, {method} {path}, {name}"), async move {
                for origin in [
                    format!("https://{CANARY}.example"),
                    "null".into(),
                    format!("https://{NAME}.evil.example"),
                ] {
                    let asked = Asked::new(method, path).with("origin", origin);
                    let answer = foreign.ask(&asked).await;
                    answer.is_refused(403, "forbidden");
                    assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
                    assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")), "{answer:?}");
                }
            });
            let own = over.clone();
            rows.add(format!("origin: own, {method} {path}, {name}"), async move {
                let origin = format!("{}://{NAME}", own.server.scheme());
                let asked = Asked::new(method, path).with("origin", origin.clone());
                let answer = own.ask(&asked).await;
                // A page may read why it was refused.
                assert!(matches!(answer.status, 400 | 401 | 404 | 405), "{answer:?}");
                assert_eq!(answer.header("access-control-allow-origin"), Some(&*origin), "{answer:?}");
                assert_eq!(answer.header("access-control-allow-credentials"), None, "{answer:?}");
                assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")), "{answer:?}");
            });
            let preflight = over.clone();
            rows.add(format!("origin: preflight, {method} {path}, {name}"), async move {
                let origin = format!("{}://{NAME}", preflight.server.scheme());
                let asked = |origin: &str| {
                    Asked::new("OPTIONS", path)
                        .with("origin", origin)
                        .with("access-control-request-method", method)
                        .with("access-control-request-headers", "authorization,content-type")
                };
                let answer = preflight.ask(&asked(&origin)).await;
                assert_eq!((answer.status, &*answer.body), (204, ""), "{answer:?}");
                assert_eq!(answer.header("access-control-allow-origin"), Some(&*origin), "{answer:?}");
                let allowed = answer.header("access-control-allow-methods").unwrap_or_default();
                assert!(["GET", "POST", "DELETE"].iter().all(|m| allowed.contains(m)), "{answer:?}");
                let headers = answer.header("access-control-allow-headers").unwrap_or_default();
                assert!(headers.contains("authorization") && headers.contains("content-type"), "{answer:?}");
                let answer = preflight.ask(&asked("https://evil.example")).await;
                answer.is_refused(403, "forbidden");
            });
        }
        let (name, stage) = (over.name(), stage.clone());
        rows.add(format!("origin: foreign, an upgrade, {name}"), async move {
            let user = stage.user(&over.server, "origin").await;
            let bearer = user.bearer();
            let headers = [("authorization", &*bearer), ("origin", "https://evil.example")];
            let refused = over.upgrade("/v1/ws", &headers).await.err().expect("no upgrade");
            refused.is_refused(403, "forbidden");
            let origin = format!("{}://{NAME}", over.server.scheme());
            let headers = [("authorization", &*bearer), ("origin", &*origin)];
            assert!(over.upgrade("/v1/ws", &headers).await.is_ok());
            // HTTP/2 has no Host but an authority.
            if over.via == Via::Http1 {
                let asked = Asked::new("GET", "/v1/poll").with("origin", origin.replace("://", "://x@"));
                over.ask(&asked).await.is_refused(403, "forbidden");
            }
        });
    }
}
