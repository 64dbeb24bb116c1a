//! One HTTP/1.1 connection. A request that has arrived whole and has no body is read from where it lies, and its answer written
//! on the bare socket. Every other is hyper's, with its answer; but an answer that waits or goes on leaves it: hyper keeps two
//! buffers of 8 KiB for as long as a connection is its own, and a node holds many that wait.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

use super::config::HEADER_BYTES_MIN;
use super::connection::{Accepted, Ended};
use super::header_timer::HeaderTimer;
use super::last_words::LastWords;
use super::later::{Awaited, is_later, settle};
use super::outside::Outside;
use super::request_head::Head;
use super::stream::{embody, is_stream};
use super::transport::Transport;
use super::upgrade::{Upgraded, offer};

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
enum Next<Io> {
    Outside(Box<Outside<Io>>),
    Ended,
}

impl<Io> Http1<Io>
where
    Io: AsyncRead + AsyncWrite + Into<Transport> + Send + Unpin + 'static,
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
    Io: AsyncRead + AsyncWrite + Into<Transport> + Send + Unpin + 'static,
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
    Io: AsyncRead + AsyncWrite + Into<Transport> + Send + Unpin + 'static,
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
    Io: AsyncRead + AsyncWrite + Into<Transport> + Send + Unpin + 'static,
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

/// What a request asks of its connection.
pub(super) struct Asked {
    /// That it ends with the answer.
    pub(super) closes: bool,
    /// Where it goes if the answer is 101.
    pub(super) upgrade: Option<oneshot::Sender<Upgraded>>,
}

impl Asked {
    /// Reads it of a request, which is told where it comes from.
    fn by<B>(request: &mut Request<B>, accepted: &Accepted, may_leave: bool) -> Self {
        let closes = asks_to_close(request.headers());
        let upgrade = (may_leave && request.headers().contains_key(UPGRADE)).then(|| offer(request));
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(accepted.peer));
        extensions.insert(accepted.slot.of_request(None));
        Self { closes, upgrade }
    }
}

/// An answer that hyper is not to write.
pub(super) struct Leaving {
    /// It, or what it will come of.
    pub(super) answer: Result<Response, Awaited>,
    /// With what becomes of the connection.
    pub(super) asked: Asked,
}

/// The way out of hyper, shared by the service, which is called by hyper, and what polls hyper.
#[derive(Default)]
struct Exit {
    leaving: Mutex<Option<Leaving>>,
    /// Nothing of earlier answers is in hyper's buffer.
    flushed: Arc<AtomicBool>,
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
async fn through_hyper<Io>(
    accepted: Arc<Accepted>,
    mut io: Box<LastWords<Io>>,
) -> Result<Next<Io>, hyper::Error>
where
    Io: AsyncRead + AsyncWrite + Into<Transport> + Send + Unpin + 'static,
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

/// RFC 9112 §9.6.
pub(super) fn asks_to_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}
