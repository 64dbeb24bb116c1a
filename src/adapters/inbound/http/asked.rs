//! A request as it arrived, for whoever may have to hand it on.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use futures_util::future::Either;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Uri};
use tokio::task::futures::TaskLocalFuture;

use crate::application::trace::RequestContext;

use super::client::ClientIp;

/// Says which node handed a request on. It grants nothing: such a request is answered by whoever gets it, or not at all,
/// and never handed on again.
pub const RELAYED_BY: HeaderName = HeaderName::from_static("edgeway-relayed-by");

/// Everything about a request but its body.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its target, as the client wrote it.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Where its connection comes from.
    pub peer: Option<SocketAddr>,
    /// Who that is, as far as trusted proxies know.
    pub client: Option<ClientIp>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            peer: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
            client: parts.extensions.get::<ClientIp>().copied(),
        })
    }
}

impl Asked {
    /// Everything about a request of which nothing else is needed any more.
    #[must_use]
    pub fn of(parts: Parts) -> Self {
        Self {
            peer: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
            client: parts.extensions.get::<ClientIp>().copied(),
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
        }
    }

    /// Does something for this request, within the trace that its client names.
    pub fn scope<F: Future>(&self, work: F) -> Either<TaskLocalFuture<RequestContext, F>, F> {
        match request_context(&self.headers) {
            Some(request) => Either::Left(request.scope(work)),
            None => Either::Right(work),
        }
    }

    /// Whether a node, or somebody who says so, has handed it on.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        self.headers.contains_key(RELAYED_BY)
    }
}

/// What a request says of its trace (W3C Trace Context) and of itself.
#[must_use]
pub fn request_context(headers: &HeaderMap) -> Option<RequestContext> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // What is not text comes as a list that is none.
    let state = headers.get_all("tracestate").iter().map(|value| value.to_str().unwrap_or("?"));
    RequestContext::read(text("traceparent"), state, text("x-request-id"))
}
