//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
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
use super::idle::{Activity, hold};
use super::last_words::LastWords;
use super::slot::ConnectionSlot;
use super::tls::{ALPN_HTTP2, ServerTls};

/// What all connections of a listener share.
pub(super) struct Shared {
    pub(super) router: axum::Router,
    pub(super) config: Config,
    pub(super) tls: Option<ServerTls>,
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
    let result = match &shared.tls {
        None => serve_plaintext(&shared, stream, peer, slot, &finish).await,
        // Boxed: TLS has much to remember, and a plaintext connection's task must not be as large.
        Some(tls) => Box::pin(serve_tls(&shared, tls, stream, peer, slot, &finish)).await,
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn serve_tls(
    shared: &Shared,
    tls: &ServerTls,
    stream: TcpStream,
    peer: SocketAddr,
    slot: ConnectionSlot,
    finish: &CancellationToken,
) -> hyper::Result<()> {
    let handshake = tls.acceptor.accept(stream);
    let accepted = tokio::select! {
        () = finish.cancelled() => return Ok(()),
        accepted = tokio::time::timeout(shared.config.handshake_timeout, handshake) => accepted,
    };
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "no TLS connection came about");
            return Ok(());
        }
        Err(_) => {
            tracing::debug!(%peer, "the TLS handshake took too long");
            return Ok(());
        }
    };
    // HTTP/2 over TLS is by ALPN alone (RFC 9113 §3.3).
    if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) {
        serve_http2(shared, stream, peer, slot, finish).await
    } else {
        serve_http1(shared, stream, peer, slot, finish).await
    }
}

async fn serve_plaintext(
    shared: &Shared,
    stream: TcpStream,
    peer: SocketAddr,
    slot: ConnectionSlot,
    finish: &CancellationToken,
) -> hyper::Result<()> {
    let detected = tokio::select! {
        () = finish.cancelled() => return Ok(()),
        detected = tokio::time::timeout(shared.config.first_byte_timeout, detect(stream)) => detected,
    };
    match detected {
        Err(_) => {
            tracing::debug!(%peer, "nothing came in time");
            Ok(())
        }
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "connection lost before its protocol was known");
            Ok(())
        }
        Ok(Ok(Detected::Http1(io))) => serve_http1(shared, io, peer, slot, finish).await,
        // Boxed: rare ones, which must not make every connection's task as large as theirs.
        Ok(Ok(Detected::Http1Replayed(io))) => Box::pin(serve_http1(shared, io, peer, slot, finish)).await,
        Ok(Ok(Detected::Http2(io))) => Box::pin(serve_http2(shared, io, peer, slot, finish)).await,
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
        .serve_connection(TokioIo::new(LastWords::http1(io)), service(&shared.router, peer, slot, None))
        .with_upgrades();
    let finish_asked = finish.cancelled();
    drive(connection, http1::UpgradeableConnection::graceful_shutdown, finish_asked, &shared.hard).await
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
    let service = service(&shared.router, peer, slot, Some(activity.clone()));
    let connection = builder.serve_connection(TokioIo::new(LastWords::http2(io)), service);
    // hyper has no idle time on HTTP/2: a peer that answers pings would stay for ever.
    let finish_asked = async {
        tokio::select! {
            () = finish.cancelled() => {}
            () = activity.idle_for(shared.config.keep_alive_idle_timeout) => {}
        }
    };
    drive(connection, http2::Connection::graceful_shutdown, finish_asked, &shared.hard).await
}

/// The router, told who is asking. With `activity`, each request is held to be running until the last byte of its answer.
fn service(
    router: &axum::Router,
    peer: SocketAddr,
    slot: ConnectionSlot,
    activity: Option<Activity>,
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
        let running = activity.as_ref().map(Activity::begin);
        extensions.insert(slot.of_request(running.clone()));
        let answered = router.clone().call(request);
        async move {
            let answer = answered.await?;
            Ok(match running {
                Some(running) => answer.map(|body| hold(running, body)),
                None => answer,
            })
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
