//! One HTTP/1.1 connection. A request that has arrived whole and has no body is read from where it lies, and its answer written
//! on the bare socket. Every other is hyper's, with its answer; but an answer that waits or goes on leaves it: hyper keeps two
//! buffers of 8 KiB for as long as a connection is its own, and a node holds many that wait.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

use super::connection::{Accepted, Ended};
use super::last_words::LastWords;
use super::later::Awaited;
use super::leaving::{Asked, Leaving};
use super::outside::Outside;
use super::request_head::Head;
use super::through_hyper::through_hyper;
use super::transport::ClientStream;

/// How long the end of an idle connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves a connection until either side ends it. Written out: an async function keeps room for all its steps at once, and
/// nearly all of the time one of them is waited for that needs little.
pub(super) struct Http1<Io> {
    accepted: Arc<Accepted>,
    step: Step<Io>,
    /// Drops an answer that has left hyper, if it comes to that. Made for the first such answer.
    dropped: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

enum Step<Io> {
    /// hyper serves, or the next request is waited for.
    Between(Pin<Box<dyn Future<Output = Result<Next<Io>, hyper::Error>> + Send>>),
    /// An answer has left hyper.
    Outside(Box<Outside<Io>>),
    Over,
}

/// How a connection goes on.
pub(super) enum Next<Io> {
    Outside(Box<Outside<Io>>),
    Ended,
}

impl<Io> Http1<Io>
where
    Io: ClientStream,
{
    /// A connection, of which something may have been read already.
    pub(super) fn new(accepted: Arc<Accepted>, io: Io, read: Bytes) -> Self {
        let io = Box::new(LastWords::http1(io, read));
        let step = Step::Between(Box::pin(answer_request(accepted.clone(), io)));
        Self { accepted, step, dropped: None }
    }

    fn poll_outside(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        let Step::Outside(outside) = &mut self.step else { return Poll::Ready(Ok(())) };
        let ending = &self.accepted.ending;
        if let Poll::Ready(written) = outside.poll(cx, &ending.finish) {
            return Poll::Ready(written);
        }
        let dropped = self.dropped.get_or_insert_with(|| Box::pin(ending.hard.clone().cancelled_owned()));
        ready!(dropped.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl<Io> Future for Http1<Io>
where
    Io: ClientStream,
{
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if let Step::Between(between) = &mut self.step {
                match ready!(between.as_mut().poll(cx))? {
                    Next::Outside(outside) => self.step = Step::Outside(outside),
                    Next::Ended => return Poll::Ready(Ok(())),
                }
            }
            ready!(self.poll_outside(cx))?;
            let Step::Outside(outside) = std::mem::replace(&mut self.step, Step::Over) else {
                return Poll::Ready(Ok(()));
            };
            let Some(stream) = outside.into_stream() else { return Poll::Ready(Ok(())) };
            self.step = Step::Between(Box::pin(next_request(self.accepted.clone(), stream)));
        }
    }
}

async fn next_request<Io>(
    accepted: Arc<Accepted>,
    mut io: Box<LastWords<Io>>,
) -> Result<Next<Io>, hyper::Error>
where
    Io: ClientStream,
{
    let Accepted { shared, ending, .. } = &*accepted;
    // Boxed, both: the wait for a request should take no more room than it needs.
    if Box::pin(begins(&mut io, shared.config.keep_alive_idle_timeout, &ending.finish)).await {
        return Box::pin(answer_request(accepted, io)).await;
    }
    // Whoever takes nothing, not even the end, is not waited for.
    tokio::select! {
        biased;
        () = ending.hard.cancelled() => {}
        _ = tokio::time::timeout(CLOSE_TIMEOUT, io.shutdown()) => {}
    }
    Ok(Next::Ended)
}

/// Answers a request that has begun.
async fn answer_request<Io>(
    accepted: Arc<Accepted>,
    mut io: Box<LastWords<Io>>,
) -> Result<Next<Io>, hyper::Error>
where
    Io: ClientStream,
{
    let max_header_bytes = accepted.shared.config.max_header_bytes;
    let Some(mut request) = poll_fn(|cx| poll_whole(&mut io, max_header_bytes, cx)).await else {
        return Box::pin(through_hyper(accepted, io)).await;
    };
    let asked = Asked::by(&mut request, &accepted, true);
    let answered = accepted
        .shared
        .router
        .clone()
        .call(request)
        .map(|answer| answer.unwrap_or_else(|never| match never {}));
    let leaving = Leaving { answer: Err(Awaited::of(answered)), asked };
    Ok(Next::Outside(Box::new(Outside::new(io, leaving, accepted.ending.finish.is_cancelled()))))
}

/// The next request, if it has arrived whole and has no body. Whoever has sent only a part of one is waited for by hyper.
fn poll_whole<Io>(
    io: &mut LastWords<Io>,
    max_bytes: usize,
    cx: &mut Context<'_>,
) -> Poll<Option<Request<Body>>>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match io.take_head(max_bytes) {
            Head::Whole(request) => return Poll::Ready(Some(request)),
            Head::Partial if matches!(io.poll_ahead(cx), Poll::Ready(Ok(true))) => {}
            Head::Partial | Head::Other => return Poll::Ready(None),
        }
    }
}

/// Waits for the next request, with nothing in memory for it. `false`: there will be none.
async fn begins<Io>(io: &mut LastWords<Io>, idle: Duration, finish: &CancellationToken) -> bool
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    if io.is_ahead() {
        return !finish.is_cancelled();
    }
    let first_bytes = tokio::time::timeout(idle, poll_fn(|cx| io.poll_ahead(cx)));
    tokio::select! {
        biased;
        () = finish.cancelled() => false,
        first_bytes = first_bytes => matches!(first_bytes, Ok(Ok(true))),
    }
}
