//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::config::{Config, HEADER_BYTES_MIN};
use super::detect::{Detected, detect};
use super::executor::TrackedExecutor;
use super::header_timer::HeaderTimer;
use super::slot::ConnectionSlot;

/// What all connections of a listener share.
pub(super) struct Shared {
    pub(super) router: axum::Router,
    pub(super) config: Config,
    pub(super) executor: TrackedExecutor,
    /// Finish what runs, begin nothing new. Also set when `hard` is.
    pub(super) finish: CancellationToken,
    /// Drop everything.
    pub(super) hard: CancellationToken,
}

/// Serves a connection until either side ends it. Errors are the peer's affair: they are logged for those who look.
pub(super) async fn serve_connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    slot: ConnectionSlot,
) {
    // Frames are small and each is waited for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "connection lost before it began");
        return;
    }
    // A token of its own: polling one that all connections share would have them contend for its lock.
    let finish = shared.finish.child_token();
    let detected = tokio::select! {
        () = finish.cancelled() => return,
        detected = tokio::time::timeout(shared.config.first_byte_timeout, detect(stream)) => detected,
    };
    let result = match detected {
        Err(_) => {
            tracing::debug!(%peer, "nothing came in time");
            return;
        }
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "connection lost before its protocol was known");
            return;
        }
        Ok(Ok(Detected::Http1(io))) => serve_http1(&shared, io, peer, slot, &finish).await,
        // Boxed: rare ones, which must not make every connection's task as large as theirs.
        Ok(Ok(Detected::Http1Replayed(io))) => Box::pin(serve_http1(&shared, io, peer, slot, &finish)).await,
        Ok(Ok(Detected::Http2(io))) => Box::pin(serve_http2(&shared, io, peer, slot, &finish)).await,
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn serve_http1<Io>(
    shared: &Shared,
    io: Io,
    peer: SocketAddr,
    slot: ConnectionSlot,
    finish: &CancellationToken,
) -> hyper::Result<()>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let config = &shared.config;
    let max_header_bytes = config.max_header_bytes.max(HEADER_BYTES_MIN);
    let connection = http1::Builder::new()
        .timer(HeaderTimer::new(config.header_read_timeout, config.keep_alive_idle_timeout))
        .header_read_timeout(config.header_read_timeout)
        .max_header_size(max_header_bytes)
        // Nothing larger is ever read in one piece, and a response waits for its reader beyond it.
        .max_buf_size(max_header_bytes)
        .serve_connection(TokioIo::new(io), service(&shared.router, peer, slot))
        .with_upgrades();
    drive(connection, http1::UpgradeableConnection::graceful_shutdown, finish, &shared.hard).await
}

async fn serve_http2<Io>(
    shared: &Shared,
    io: Io,
    peer: SocketAddr,
    slot: ConnectionSlot,
    finish: &CancellationToken,
) -> hyper::Result<()>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = &shared.config.http2;
    let max_header_bytes = shared.config.max_header_bytes.max(HEADER_BYTES_MIN);
    let mut builder = http2::Builder::new(shared.executor.clone());
    builder
        .timer(TokioTimer::new())
        // WebSocket over HTTP/2 (RFC 8441).
        .enable_connect_protocol()
        .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.max_concurrent_streams)
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout)
        .max_pending_accept_reset_streams(limits.max_pending_accept_reset_streams)
        .max_local_error_reset_streams(limits.max_local_error_reset_streams)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_send_buf_size(limits.max_send_buffer_bytes);
    let connection = builder.serve_connection(TokioIo::new(io), service(&shared.router, peer, slot));
    drive(connection, http2::Connection::graceful_shutdown, finish, &shared.hard).await
}

/// The router, told who is asking.
fn service(
    router: &axum::Router,
    peer: SocketAddr,
    slot: ConnectionSlot,
) -> impl HttpService<
    Incoming,
    ResBody = Body,
    Error = Infallible,
    Future: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
> + Send
+ use<> {
    let router = router.clone();
    service_fn(move |mut request: Request<Incoming>| {
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(peer));
        extensions.insert(slot.clone());
        router.clone().call(request)
    })
}

/// Runs a connection to its end; a soft end lets running requests finish, a hard one drops them.
async fn drive<C>(
    connection: C,
    finish_gracefully: fn(Pin<&mut C>),
    finish: &CancellationToken,
    hard: &CancellationToken,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        result = connection.as_mut() => return result,
        () = finish.cancelled() => finish_gracefully(connection.as_mut()),
    }
    tokio::select! {
        biased;
        () = hard.cancelled() => Ok(()),
        result = connection => result,
    }
}
