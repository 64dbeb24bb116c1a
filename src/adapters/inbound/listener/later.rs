//! Answers that are yet to come.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;

use crate::adapters::inbound::wire::errors::error_json;
use crate::domain::error::{ErrorCode, Refusal};

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Marks a response as not the answer itself.
#[derive(Clone)]
struct Later(Arc<Mutex<Option<Answer>>>);

/// Gives an answer that may take long. A handler that returns this at once, in place of waiting, lets the listener free
/// all that the way to it has taken: the request, the buffer it was read into, what each layer of the router holds. The
/// headers that layers add meanwhile are added to the answer; nothing else of what they make of the promise is. For GET alone:
/// whoever answers HEAD has to leave the body out.
pub fn later(answer: impl Future<Output = Response> + Send + 'static) -> Response {
    // What panics is answered as the router answers what panics at once.
    let answer = AssertUnwindSafe(answer).catch_unwind().map(|answer| {
        answer.unwrap_or_else(|_| {
            tracing::error!("an answer panicked");
            panicked()
        })
    });
    let mut marker = Response::default();
    marker.extensions_mut().insert(Later(Arc::new(Mutex::new(Some(Box::pin(answer))))));
    marker
}

fn panicked() -> Response {
    let refusal = Refusal::new(ErrorCode::Internal, "something went wrong here");
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (StatusCode::INTERNAL_SERVER_ERROR, headers, error_json(&refusal, None)).into_response()
}

/// Whether a response is only the promise of one.
pub(super) fn is_later(response: &Response) -> bool {
    response.extensions().get::<Later>().is_some()
}

/// An answer that is yet to come.
pub(super) struct Awaited {
    answer: Answer,
    /// What layers have added to the promise.
    headers: Box<[(HeaderName, HeaderValue)]>,
}

impl Awaited {
    /// What comes of this.
    pub(super) fn of(answer: impl Future<Output = Response> + Send + 'static) -> Self {
        Self { answer: Box::pin(answer), headers: Box::default() }
    }
}

/// What a response is, or becomes.
pub(super) fn settle(mut response: Response) -> Result<Response, Awaited> {
    let answer = response.extensions_mut().remove::<Later>().and_then(|later| later.0.lock().take());
    let Some(answer) = answer else { return Ok(response) };
    // How long the promise is says nothing of the answer.
    let headers = response.headers().iter().filter(|(name, _)| **name != CONTENT_LENGTH);
    // Copied: a value may be a slice of what the request was read into.
    let headers = headers.filter_map(|(name, value)| {
        HeaderValue::from_bytes(value.as_bytes()).ok().map(|value| (name.clone(), value))
    });
    let headers = headers.collect();
    Err(Awaited { answer, headers })
}

impl Future for Awaited {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let mut answer = ready!(self.answer.as_mut().poll(cx));
        for (name, value) in std::mem::take(&mut self.headers) {
            answer.headers_mut().append(name, value);
        }
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Of a request that waits nothing may stay: it can be large.
    #[tokio::test]
    async fn a_promise_keeps_no_part_of_what_the_request_was_read_into() {
        let read = Bytes::from(vec![b'x'; 1024]);
        let mut promise = later(async { Response::default() });
        let origin = HeaderValue::from_maybe_shared(read.slice(..8)).unwrap();
        promise.headers_mut().insert("access-control-allow-origin", origin);
        let Err(awaited) = settle(promise) else { panic!("it is a promise") };
        assert!(read.is_unique());
        assert_eq!(awaited.await.headers()["access-control-allow-origin"], "xxxxxxxx");
    }
}
