//! The requests of a connection that hyper reads, and the way out of it for answers that wait or go on.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tower::Service;

use super::config::HEADER_BYTES_MIN;
use super::connection::Accepted;
use super::header_timer::HeaderTimer;
use super::http1::Next;
use super::last_words::LastWords;
use super::later::{is_later, settle};
use super::leaving::{Asked, Leaving};
use super::outside::Outside;
use super::stream::{embody, is_stream};
use super::transport::ClientStream;

/// The way out of hyper, shared by the service, which is called by hyper, and what polls hyper.
#[derive(Default)]
struct Exit {
    leaving: Mutex<Option<Leaving>>,
    /// Nothing of earlier answers is in hyper's buffer.
    flushed: Arc<AtomicBool>,
    /// A request has been read.
    asked: AtomicBool,
}

impl Exit {
    fn leave(&self, leaving: Leaving) {
        self.flushed.store(false, Ordering::Relaxed);
        *self.leaving.lock() = Some(leaving);
    }

    fn take(&self) -> Option<Leaving> {
        self.flushed.load(Ordering::Relaxed).then(|| self.leaving.lock().take()).flatten()
    }
}

/// Lets hyper serve the connection until it ends, or an answer leaves.
pub(super) async fn through_hyper<Io>(
    accepted: Arc<Accepted>,
    mut io: Box<LastWords<Io>>,
) -> Result<Next<Io>, hyper::Error>
where
    Io: ClientStream,
{
    let Accepted { shared, ending, .. } = &*accepted;
    let config = &shared.config;
    let max_header_bytes = config.max_header_bytes.max(HEADER_BYTES_MIN);
    let exit = Arc::new(Exit::default());
    io.tell_flushes(Some(exit.flushed.clone()));
    // On the heap: it is large, and is let go of when an answer leaves.
    let mut connection = Box::pin(
        http1::Builder::new()
            .timer(HeaderTimer::new(config.header_read_timeout, config.keep_alive_idle_timeout))
            .header_read_timeout(config.header_read_timeout)
            .max_header_size(max_header_bytes)
            // Nothing larger is ever read in one piece, and a response waits for its reader beyond it.
            .max_buf_size(max_header_bytes)
            .serve_connection(TokioIo::new(io), service(&accepted, &exit)),
    );
    let left = tokio::select! {
        biased;
        left = poll_fn(|cx| poll_left(connection.as_mut(), &exit, cx)) => left,
        () = ending.finish.cancelled() => {
            // hyper would wait for the rest of the first request that it is given.
            if !exit.asked.load(Ordering::Relaxed) {
                return Ok(Next::Ended);
            }
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                () = ending.hard.cancelled() => return Ok(Next::Ended),
                left = poll_fn(|cx| poll_left(connection.as_mut(), &exit, cx)) => left,
            }
        }
    };
    let Some(leaving) = left? else { return Ok(Next::Ended) };
    let parts = Pin::into_inner(connection).into_parts();
    let mut io = parts.io.into_inner();
    io.tell_flushes(None);
    if !parts.read_buf.is_empty() {
        // Copied: it is a slice of hyper's buffer.
        io.put_back(Bytes::copy_from_slice(&parts.read_buf));
    }
    Ok(Next::Outside(Box::new(Outside::new(io, leaving, ending.finish.is_cancelled()))))
}

/// Drives hyper until the connection ends or an answer leaves. One that was about to leave a connection that ended is
/// nobody's any more.
fn poll_left<C>(
    connection: Pin<&mut C>,
    exit: &Exit,
    cx: &mut Context<'_>,
) -> Poll<hyper::Result<Option<Leaving>>>
where
    C: Future<Output = hyper::Result<()>>,
{
    match connection.poll(cx) {
        Poll::Ready(ended) => Poll::Ready(ended.map(|()| None)),
        Poll::Pending => match exit.take() {
            Some(leaving) => Poll::Ready(Ok(Some(leaving))),
            None => Poll::Pending,
        },
    }
}

/// The router, told who is asking.
fn service(
    accepted: &Arc<Accepted>,
    exit: &Arc<Exit>,
) -> impl HttpService<
    Incoming,
    ResBody = Body,
    Error = Infallible,
    Future: Future<Output = Result<Response, Infallible>> + Send + 'static,
> + Send
+ Unpin
+ use<> {
    let (accepted, exit) = (accepted.clone(), exit.clone());
    service_fn(move |mut request: Request<Incoming>| {
        exit.asked.store(true, Ordering::Relaxed);
        // A chunked answer needs HTTP/1.1, and a body that still comes, or is only asked about, needs hyper.
        let may_leave = request.version() == Version::HTTP_11
            && request.method() != Method::HEAD
            && request.body().is_end_stream();
        let asked = Asked::by(&mut request, &accepted, may_leave);
        // hyper's own offer comes to nothing here: hyper is not told to keep it.
        request.extensions_mut().remove::<OnUpgrade>();
        let answered = accepted.shared.router.clone().call(request);
        let exit = exit.clone();
        async move {
            let answer = answered.await?;
            if may_leave && goes_on(&answer) {
                exit.leave(Leaving { answer: settle(answer), asked });
                return pending().await;
            }
            match settle(answer) {
                Ok(answer) => Ok(embody(answer)),
                Err(awaited) => Ok(embody(awaited.await)),
            }
        }
    })
}

/// Whether an answer is not all there yet.
fn goes_on(answer: &Response) -> bool {
    answer.status() == StatusCode::SWITCHING_PROTOCOLS
        || is_later(answer)
        || is_stream(answer)
        || (!answer.body().is_end_stream() && answer.body().size_hint().exact().is_none())
}
