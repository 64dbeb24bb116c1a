//! The public paths.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use http::header::{ALLOW, CONNECTION, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use tower_http::catch_panic::CatchPanicLayer;

use super::http::client::identify_client;
use super::http::commands::post_commands;
use super::http::edge::Edge;
use super::http::origin;
use super::http::reject::Rejection;
use super::http::sessions::{delete_session, issue_ticket};
use super::poll::poll;
use super::sse::stream_events;
use super::ws::open::open_websocket;
use crate::domain::error::{ErrorCode, Refusal};

/// Longest path and query, in bytes: a token of 8 KiB still fits.
pub const URI_MAX_BYTES: usize = 12 * 1024;
/// Largest header list on HTTP/2, in bytes as RFC 9113 §6.5.2 counts them. On HTTP/1.1 the listener counts.
pub const HEADER_LIST_MAX_BYTES: usize = 16 * 1024;
/// What each field costs beside its name and value.
const HEADER_FIELD_BYTES: usize = 32;

/// Everything that clients are served: the protocol, which is all under `/v1`, and further routes beside it.
pub fn for_clients(edge: Arc<Edge>, further: Router) -> Router {
    let protocol = Router::new()
        // Any method: over HTTP/2 it is CONNECT (RFC 8441 §4), and what is wrong with it is told by the handshake.
        .route("/v1/ws", any(open_websocket))
        .route("/v1/sse", get(stream_events).head(only_get).fallback(only_get))
        .route("/v1/poll", get(poll).head(only_get).fallback(only_get))
        .route("/v1/commands", post(post_commands))
        .route("/v1/tickets", post(issue_ticket))
        .route("/v1/sessions/{session}", delete(delete_session))
        .with_state(edge.clone());
    // One layer and no nested router: each costs a request several allocations, and every poll is a request.
    let routes = closed(protocol.merge(further)).layer(from_fn_with_state(edge, enter));
    routes.layer(CatchPanicLayer::custom(panicked))
}

/// Everything that operators are served.
pub fn for_operators(routes: Router) -> Router {
    closed(routes).layer(from_fn(enter_unguarded)).layer(CatchPanicLayer::custom(panicked))
}

/// Says of every other path, and every other method, that there is none.
fn closed(router: Router) -> Router {
    router.method_not_allowed_fallback(method_not_allowed).fallback(not_found)
}

/// The way in for clients: who asks under `/v1` is looked at more closely.
async fn enter(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    if let Err(rejection) = require_sound_head(&request) {
        return rejection.into_response();
    }
    let version = request.version();
    let is_protocol = request
        .uri()
        .path()
        .strip_prefix("/v1")
        .is_some_and(|rest| matches!(rest.as_bytes().first(), None | Some(b'/')));
    let response = if is_protocol {
        identify_client(&edge.config.trusted_proxies, &mut request);
        origin::guard(State(edge), request, next).await
    } else {
        next.run(request).await
    };
    end_if_unread(response, version)
}

/// The way in where nobody has to be told from others.
async fn enter_unguarded(request: Request, next: Next) -> Response {
    if let Err(rejection) = require_sound_head(&request) {
        return rejection.into_response();
    }
    let version = request.version();
    end_if_unread(next.run(request).await, version)
}

/// Turns away a request line that is too long (RFC 9110 §15.5.15), too many or too large header fields on HTTP/2 (RFC 6585
/// §5), and a request without one `Host` that can be one (RFC 9112 §3.2).
fn require_sound_head(request: &Request) -> Result<(), Rejection> {
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > URI_MAX_BYTES) {
        return Err(Rejection::of_http(StatusCode::URI_TOO_LONG, "the request's target is too long"));
    }
    if request.version() == Version::HTTP_2 && header_list_bytes(request.headers()) > HEADER_LIST_MAX_BYTES {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Rejection::of_http(status, "the request's header is too large"));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    let missing = request.version() == Version::HTTP_11 && host.is_none();
    if missing || host.is_some_and(|host| !is_host(host)) || hosts.next().is_some() {
        return Err(Rejection::of_http(StatusCode::BAD_REQUEST, "the request needs one Host"));
    }
    Ok(())
}

/// Of a body that was refused the rest stays unread: nothing may be sent behind it (RFC 9112 §9.6).
fn end_if_unread(mut response: Response, version: Version) -> Response {
    let unread = matches!(response.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT);
    if unread && version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn header_list_bytes(headers: &HeaderMap) -> usize {
    let fields = headers.iter();
    fields.map(|(name, value)| name.as_str().len() + value.len() + HEADER_FIELD_BYTES).sum()
}

/// Empty is allowed: the target has no authority then (RFC 9110 §7.2).
fn is_host(host: &HeaderValue) -> bool {
    let bytes = host.as_bytes();
    bytes.is_empty() || (!bytes.contains(&b'@') && Authority::try_from(bytes).is_ok())
}

async fn not_found() -> Rejection {
    Rejection::of_http(StatusCode::NOT_FOUND, "there is nothing at this path")
}

/// Anything but GET: a HEAD would attach like the GET it asks about, and take the session from its reader.
async fn only_get() -> impl IntoResponse {
    ([(ALLOW, "GET")], method_not_allowed().await)
}

async fn method_not_allowed() -> Rejection {
    Rejection::of_http(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request handler panicked");
    Rejection::from(Refusal::new(ErrorCode::Internal, "something went wrong here")).into_response()
}
