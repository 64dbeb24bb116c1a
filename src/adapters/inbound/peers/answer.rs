//! Another node's answer, as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::sync::OwnedSemaphorePermit;

pin_project! {
    /// The body of an answer. It ends early when this node leaves; when it is dropped, the other node notices.
    pub struct Answer {
        #[pin]
        body: Incoming,
        // Ends when this node leaves.
        sent_away: Pin<Box<dyn Future<Output = ()> + Send>>,
        // Its places: on the connection, and among all.
        places: [OwnedSemaphorePermit; 2],
    }
}

impl Answer {
    pub(super) fn new(
        body: Incoming,
        sent_away: Pin<Box<dyn Future<Output = ()> + Send>>,
        places: [OwnedSemaphorePermit; 2],
    ) -> Self {
        Self { body, sent_away, places }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.project();
        match this.body.poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => this.sent_away.as_mut().poll(cx).map(|()| None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
