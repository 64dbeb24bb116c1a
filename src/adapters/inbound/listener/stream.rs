//! Answers that go on: written piece by piece, for as long as the client stays.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body::Frame;
use parking_lot::Mutex;

/// Where the body of an answer comes from.
pub trait Source: Send {
    /// Appends what is there to be written, and says whether there will be more. `Pending`, with nothing appended: the task
    /// is woken when there is something. It is not asked again after it has ended.
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<bool>;
}

/// Marks a response whose body comes from a source.
#[derive(Clone)]
struct Streamed(Arc<Mutex<Option<Box<dyn Source>>>>);

/// An answer with a body that comes from a source. The listener writes it straight into what goes to the socket, where it
/// can; else it is a body like others. For GET alone: whoever answers HEAD has to leave the body out.
pub fn stream(source: impl Source + 'static) -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Streamed(Arc::new(Mutex::new(Some(Box::new(source))))));
    response
}

/// Whether a response has a source.
pub(super) fn is_stream(response: &Response) -> bool {
    response.extensions().get::<Streamed>().is_some()
}

/// Takes the source of a response, if it has one.
pub(super) fn take_source(response: &mut Response) -> Option<Box<dyn Source>> {
    let source =
        response.extensions_mut().remove::<Streamed>().and_then(|streamed| streamed.0.lock().take())?;
    // Of the body that stood there in its place.
    response.headers_mut().remove(CONTENT_LENGTH);
    Some(source)
}

/// The same response with its source, if it has one, as its body.
pub(super) fn embody(mut response: Response) -> Response {
    match take_source(&mut response) {
        Some(source) => response.map(|_| Body::new(SourceBody(Some(source)))),
        None => response,
    }
}

struct SourceBody(Option<Box<dyn Source>>);

impl http_body::Body for SourceBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut out = Vec::new();
        // A frame without anything in it would be no news.
        while let Some(source) = &mut self.0
            && out.is_empty()
        {
            let asked = source.poll_write(cx, &mut out);
            debug_assert!(asked.is_ready() || out.is_empty(), "what is appended is handed on");
            if !ready!(asked) {
                self.0 = None;
            }
        }
        Poll::Ready((!out.is_empty()).then(|| Ok(Frame::data(out.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
