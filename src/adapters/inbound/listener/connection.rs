//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::config::{Config, HEADER_BYTES_MIN};
use super::detect::{Detected, detect};
use super::ending::{Ending, Endings};
use super::executor::TrackedExecutor;
use super::http1::Http1;
use super::idle::{Activity, hold};
use super::last_words::LastWords;
use super::later::settle;
use super::slot::ConnectionSlot;
use super::stream::embody;
use super::tls::{ALPN_HTTP2, ServerTls};

/// How a connection ended: the peer's affair.
pub(super) type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// What all connections of a listener share.
pub(super) struct Shared {
    pub(super) router: axum::Router,
    pub(super) config: Config,
    pub(super) tls: Option<ServerTls>,
    pub(super) executor: TrackedExecutor,
    pub(super) endings: Endings,
}

/// What goes with one connection, whatever is spoken on it.
pub(super) struct Accepted {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: SocketAddr,
    pub(super) slot: ConnectionSlot,
    pub(super) ending: Arc<Ending>,
}

/// A connection of which it is known what is spoken on it.
type Served = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// Serves a connection until either side ends it. Errors are the peer's affair: they are logged for those who look.
///
/// The task holds little more than a pointer: first to what finds out what is spoken, which is large and let go of, and then
/// to what speaks it.
pub(super) fn serve_connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    slot: ConnectionSlot,
) -> impl Future<Output = ()> + Send {
    let ending = shared.endings.assign();
    let begun = Box::pin(begin(Arc::new(Accepted { shared, peer, slot, ending }), stream));
    async move {
        if let Some(served) = begun.await
            && let Err(error) = served.await
        {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

async fn begin(accepted: Arc<Accepted>, stream: TcpStream) -> Option<Served> {
    // Frames are small and each is waited for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %accepted.peer, %error, "connection lost before it began");
        return None;
    }
    match &accepted.shared.tls {
        None => begin_plaintext(accepted, stream).await,
        Some(tls) => {
            let tls = tls.clone();
            Box::pin(begin_tls(accepted, tls, stream)).await
        }
    }
}

async fn begin_tls(accepted: Arc<Accepted>, tls: ServerTls, stream: TcpStream) -> Option<Served> {
    let Accepted { shared, peer, ending, .. } = &*accepted;
    let handshake = tls.acceptor.accept(stream);
    let secured = tokio::select! {
        () = ending.finish.cancelled() => return None,
        secured = tokio::time::timeout(shared.config.handshake_timeout, handshake) => secured,
    };
    let stream = match secured {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "no TLS connection came about");
            return None;
        }
        Err(_) => {
            tracing::debug!(%peer, "the TLS handshake took too long");
            return None;
        }
    };
    // HTTP/2 over TLS is by ALPN alone (RFC 9113 §3.3).
    Some(if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) {
        Box::pin(serve_http2(accepted, stream, Bytes::new()))
    } else {
        Box::pin(Http1::new(accepted, stream, Bytes::new()))
    })
}

async fn begin_plaintext(accepted: Arc<Accepted>, stream: TcpStream) -> Option<Served> {
    let Accepted { shared, peer, ending, .. } = &*accepted;
    let detected = tokio::select! {
        () = ending.finish.cancelled() => return None,
        detected = tokio::time::timeout(shared.config.first_byte_timeout, detect(stream)) => detected,
    };
    match detected {
        Err(_) => {
            tracing::debug!(%peer, "nothing came in time");
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "connection lost before its protocol was known");
            None
        }
        Ok(Ok(Detected::Http1(io, read))) => Some(Box::pin(Http1::new(accepted, io, read))),
        Ok(Ok(Detected::Http2(io, read))) => Some(Box::pin(serve_http2(accepted, io, read))),
    }
}

async fn serve_http2<Io>(accepted: Arc<Accepted>, io: Io, read: Bytes) -> Ended
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Accepted { shared, ending, .. } = &*accepted;
    let limits = &shared.config.http2;
    let max_header_bytes = shared.config.max_header_bytes.max(HEADER_BYTES_MIN);
    let mut builder = http2::Builder::new(shared.executor.clone());
    builder
        .timer(TokioTimer::new())
        // WebSocket over HTTP/2 (RFC 8441).
        .enable_connect_protocol()
        // Twice as much as is served: beyond it h2 answers by itself, with no body.
        .max_header_list_size(u32::try_from(max_header_bytes.saturating_mul(2)).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.max_concurrent_streams)
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout)
        .max_pending_accept_reset_streams(limits.max_pending_accept_reset_streams)
        .max_local_error_reset_streams(limits.max_local_error_reset_streams)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_send_buf_size(limits.max_send_buffer_bytes);
    let activity = Activity::default();
    let service = service(&accepted, activity.clone());
    let connection = builder.serve_connection(TokioIo::new(LastWords::http2(io, read)), service);
    // hyper has no idle time on HTTP/2: a peer that answers pings would stay for ever.
    let finish_asked = async {
        tokio::select! {
            () = ending.finish.cancelled() => {}
            () = activity.idle_for(shared.config.keep_alive_idle_timeout) => {}
        }
    };
    Ok(drive(connection, http2::Connection::graceful_shutdown, finish_asked, &ending.hard).await?)
}

/// The router, told who is asking. Each request is held to be running until the last byte of its answer.
fn service(
    accepted: &Accepted,
    activity: Activity,
) -> impl HttpService<
    Incoming,
    ResBody = Body,
    Error = Infallible,
    Future: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
> + Send
+ use<> {
    let (router, peer, slot) =
        (accepted.shared.router.clone(), accepted.peer, accepted.slot.of_request(None));
    service_fn(move |mut request: Request<Incoming>| {
        let running = activity.begin();
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(peer));
        extensions.insert(slot.of_request(Some(running.clone())));
        let answered = router.clone().call(request);
        async move {
            let answer = match settle(answered.await?) {
                Ok(answer) => answer,
                Err(awaited) => awaited.await,
            };
            Ok(embody(answer).map(|body| hold(running, body)))
        }
    })
}

/// Runs a connection to its end; a soft end lets running requests finish, a hard one drops them.
async fn drive<C>(
    connection: C,
    finish_gracefully: fn(Pin<&mut C>),
    finish_asked: impl Future<Output = ()>,
    hard: &CancellationToken,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    // On the heap: as an argument and a local it would lie twice in the future of every connection.
    let mut connection = Box::pin(connection);
    tokio::select! {
        biased;
        result = connection.as_mut() => return result,
        () = finish_asked => finish_gracefully(connection.as_mut()),
    }
    tokio::select! {
        biased;
        () = hard.cancelled() => Ok(()),
        result = connection => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_task_of_a_connection_is_small() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let permit = Arc::new(tokio::sync::Semaphore::new(1)).acquire_owned().await.unwrap();
        let shared = Arc::new(Shared {
            router: axum::Router::new(),
            config: Config::default(),
            tls: None,
            executor: TrackedExecutor(tokio_util::task::TaskTracker::new()),
            endings: Endings::told_by(&CancellationToken::new(), &CancellationToken::new()),
        });
        let peer = stream.peer_addr().unwrap();
        let task = serve_connection(shared, stream, peer, ConnectionSlot::new(permit));
        assert!(size_of_val(&task) <= 96, "{}", size_of_val(&task));
    }
}
