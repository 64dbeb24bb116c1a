//! The public paths.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
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

/// The client protocol: everything under `/v1`, and the protocol's 404 and 405 for the rest.
pub fn protocol(edge: Arc<Edge>) -> Router {
    let guard = from_fn_with_state(edge.clone(), origin::guard);
    let client = from_fn_with_state(edge.clone(), identify_client);
    let v1 = Router::new()
        // Any method: over HTTP/2 it is CONNECT (RFC 8441 §4), and what is wrong with it is told by the handshake.
        .route("/ws", any(open_websocket))
        .route("/sse", get(stream_events).head(only_get).fallback(only_get))
        .route("/poll", get(poll).head(only_get).fallback(only_get))
        .route("/commands", post(post_commands))
        .route("/tickets", post(issue_ticket))
        .route("/sessions/{session}", delete(delete_session))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(guard)
        .layer(client)
        .with_state(edge);
    Router::new().nest("/v1", v1)
}

/// What every path of a listener shares: unknown paths, wrong methods, and panics that end one request only.
pub fn finish(router: Router) -> Router {
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(from_fn(require_sound_head))
        .layer(CatchPanicLayer::custom(panicked))
}

/// A request line that is too long (RFC 9110 §15.5.15), too many or too large header fields on HTTP/2 (RFC 6585 §5), or a
/// request without one `Host` that can be one (RFC 9112 §3.2).
async fn require_sound_head(request: Request, next: Next) -> Response {
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > URI_MAX_BYTES) {
        return Rejection::of_http(StatusCode::URI_TOO_LONG, "the request's target is too long")
            .into_response();
    }
    if request.version() == Version::HTTP_2 && header_list_bytes(request.headers()) > HEADER_LIST_MAX_BYTES {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Rejection::of_http(status, "the request's header is too large").into_response();
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    let missing = request.version() == Version::HTTP_11 && host.is_none();
    if missing || host.is_some_and(|host| !is_host(host)) || hosts.next().is_some() {
        return Rejection::of_http(StatusCode::BAD_REQUEST, "the request needs one Host").into_response();
    }
    let version = request.version();
    let mut response = next.run(request).await;
    // The rest of the body stays unread: nothing may be sent behind it (RFC 9112 §9.6).
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
