//! The web demo, from within the binary: a page, and the client library as it is.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use rust_embed::{EmbeddedFile, RustEmbed};

/// Only what comes from this server: no script or style within the page, no picture, no frame, no foreign address.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "web-demo/page/"]
struct Page;

#[derive(RustEmbed)]
#[folder = "web-demo/client/src/"]
#[include = "*.js"]
struct Client;

/// `/` and the files beside it, `/client/` and those of the library, each by its name: any other path stays unknown.
pub fn routes() -> Router {
    let index = Page::get("index.html");
    let page = Page::iter().map(|name| (format!("/{name}"), Page::get(&name)));
    let client = Client::iter().map(|name| (format!("/client/{name}"), Client::get(&name)));
    std::iter::once(("/".to_owned(), index))
        .chain(page)
        .chain(client)
        .filter_map(|(path, file)| Some((path, file?)))
        .fold(Router::new(), |routes, (path, file)| {
            let kind = kind_of(&path);
            routes.route(&path, get(move || async move { answer(&file, kind) }))
        })
}

fn kind_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    }
}

fn answer(file: &EmbeddedFile, kind: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, file.data.clone()).into_response()
}
