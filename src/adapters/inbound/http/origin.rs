//! Whose pages may call (RFC 6454), and the preflight that asks so (Fetch §3.2, CORS).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::edge::Edge;
use super::reject::Rejection;
use crate::domain::error::{ErrorCode, Refusal};

/// How long a browser may keep the answer to a preflight, in seconds.
const PREFLIGHT_MAX_AGE_SECS: &str = "600";

/// The origins that are allowed: exact, or any if `"*"` is written. Empty: the page's own host.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins {
    /// `https://app.example.com`, or `*`.
    pub origins: Vec<String>,
}

impl AllowedOrigins {
    /// Whether an origin is named (or all are): the page's own host does not count.
    #[must_use]
    pub fn names(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
    }

    fn allow(&self, origin: &HeaderValue, headers: &HeaderMap, uri: &Uri) -> bool {
        if self.origins.is_empty() { is_same_host(origin, headers, uri) } else { self.names(origin) }
    }
}

/// Whether the page comes from the host that is asked. The scheme is not compared: behind a proxy that ends TLS this
/// node can't know its own.
fn is_same_host(origin: &HeaderValue, headers: &HeaderMap, uri: &Uri) -> bool {
    let asked = uri.authority().cloned().or_else(|| headers.get(HOST)?.to_str().ok()?.parse().ok());
    let origin: Option<Uri> = origin.to_str().ok().and_then(|text| text.parse().ok());
    let Some((asked, origin)) = asked.zip(origin) else { return false };
    let default_port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    origin.authority().is_some_and(|authority| {
        // No page has a user in its origin (RFC 6454 §6.2).
        !authority.as_str().contains('@')
            && authority.host().eq_ignore_ascii_case(asked.host())
            && port(authority) == port(&asked)
    })
}

/// Turns a foreign page away before anything else happens, answers preflights, and lets an allowed page read answers.
pub async fn guard(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(ORIGIN).cloned() else {
        // Not a browser.
        return next.run(request).await;
    };
    if !edge.config.allowed_origins.allow(&origin, request.headers(), request.uri()) {
        let refusal = Refusal::new(ErrorCode::Forbidden, "this origin is not allowed");
        return with_vary(Rejection::from(refusal).into_response());
    }
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight { preflight_answer() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    if edge.config.cookie.is_some() {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    with_vary(response)
}

fn preflight_answer() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let values = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, last-event-id, cache-control"),
        (ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_SECS),
    ];
    for (name, value) in values {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn with_vary(mut response: Response) -> Response {
    response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(origin: &'static str, host: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        let none = AllowedOrigins::default();
        none.allow(&HeaderValue::from_static(origin), &headers, &Uri::from_static("/v1/ws"))
    }

    #[test]
    fn without_a_list_only_the_own_host_is_allowed() {
        assert!(same("http://127.0.0.1:8080", "127.0.0.1:8080"));
        assert!(same("https://chat.example.com", "chat.example.com"));
        assert!(same("https://chat.example.com", "chat.example.com:443"));
        assert!(same("http://[::1]:80", "[::1]"));
        for (origin, host) in [
            ("https://evil.example", "chat.example.com"),
            ("https://chat.example.com.evil.example", "chat.example.com"),
            ("https://chat.example.com:444", "chat.example.com"),
            ("https://x@chat.example.com", "chat.example.com"),
            ("null", "chat.example.com"),
            ("file://chat.example.com", "chat.example.com"),
            ("", "chat.example.com"),
        ] {
            assert!(!same(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn a_list_is_exact() {
        let list = AllowedOrigins { origins: vec!["https://app.example.com".into()] };
        assert!(list.names(&HeaderValue::from_static("https://app.example.com")));
        assert!(!list.names(&HeaderValue::from_static("https://app.example.com/")));
        assert!(!list.names(&HeaderValue::from_static("http://app.example.com")));
    }
}
