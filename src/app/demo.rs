//! The web demo, from within the binary.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use rust_embed::RustEmbed;

use crate::adapters::inbound::http::reject::Rejection;

/// Only the page's own scripts and its own server; its styles stand in it.
const POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "web-demo/"]
#[include = "*.html"]
#[include = "*.js"]
struct Files;

/// `/` and the files beside it, each by its name: any other path stays unknown.
pub fn routes() -> Router {
    let page = Router::new().route("/", get(|| async { file("index.html") }));
    Files::iter().fold(page, |routes, name| {
        let path = format!("/{name}");
        routes.route(&path, get(move || async move { file(&name) }))
    })
}

fn file(name: &str) -> Response {
    let Some(found) = Files::get(name) else {
        return Rejection::of_http(StatusCode::NOT_FOUND, "there is nothing at this path").into_response();
    };
    let kind =
        if name.ends_with(".js") { "text/javascript; charset=utf-8" } else { "text/html; charset=utf-8" };
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, found.data).into_response()
}
