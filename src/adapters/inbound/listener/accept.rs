//! The accept loop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept_errors::AcceptErrors;
use super::config::Config;
use super::connection::{Shared, serve_connection};
use super::ending::Endings;
use super::executor::TrackedExecutor;
use super::slot::Slots;
use super::tls::ServerTls;

/// On what terms connections are served.
pub struct Terms {
    /// What is tolerated of them.
    pub config: Config,
    /// How many there may be.
    pub slots: Slots,
    /// The certificate; with none they are in plaintext.
    pub tls: Option<ServerTls>,
}

/// Serves a router on a listener until told to stop. No error ends it.
///
/// Each request carries `ConnectInfo<SocketAddr>` (the peer) and a [`ConnectionSlot`](super::slot::ConnectionSlot) in its extensions. Every
/// connection is one task on `tracker`, every request on HTTP/2 another.
///
/// - `soft`: accepts no more and returns. Idle connections close, running requests and streams go on until they end
///   themselves; no request is begun on a connection whose last one is answered.
/// - `hard`: returns too, and drops every connection at once. Upgraded ones belong to whoever took them.
///
/// Whoever needs the end of the connections waits for `tracker`.
pub async fn serve(
    listener: TcpListener,
    router: axum::Router,
    terms: Terms,
    tracker: &TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
) {
    serve_accepted(listener, router, terms, tracker, soft, hard).await;
}

/// Where connections come from.
trait Accept {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        self.accept()
    }
}

async fn serve_accepted(
    listener: impl Accept,
    router: axum::Router,
    terms: Terms,
    tracker: &TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
) {
    let Terms { config, slots, tls } = terms;
    let finish = CancellationToken::new();
    // Also when this future is dropped: connections must not go on without their loop.
    let _finish_at_return = finish.clone().drop_guard();
    let executor = TrackedExecutor(tracker.clone());
    let endings = Endings::told_by(&finish, &hard);
    let shared = Arc::new(Shared { router, config, tls, executor, endings });
    tokio::select! {
        biased;
        () = hard.cancelled() => {}
        () = soft.cancelled() => {}
        () = accept_all(&listener, &shared, &slots, tracker) => {}
    }
}

async fn accept_all(listener: &impl Accept, shared: &Arc<Shared>, slots: &Slots, tracker: &TaskTracker) {
    let mut errors = AcceptErrors::default();
    loop {
        // Before accepting: over the cap peers wait in the backlog, where they cost this process nothing.
        slots.vacancy().await;
        let (stream, peer) = accept_one(listener, &mut errors).await;
        let Ok(slot) = slots.take().await else { return };
        tracker.spawn(serve_connection(Arc::clone(shared), stream, peer, slot));
    }
}

async fn accept_one(listener: &impl Accept, errors: &mut AcceptErrors) -> (TcpStream, SocketAddr) {
    loop {
        let error = match listener.accept().await {
            Ok(accepted) => {
                errors.recovered();
                return accepted;
            }
            Err(error) => error,
        };
        if let Some(advice) = errors.advise(&error, tokio::time::Instant::now()) {
            if let Some(unlogged) = advice.log_with_unlogged {
                tracing::error!(%error, unlogged, "cannot accept connections; trying again");
            }
            tokio::time::sleep(advice.pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Fails a few times as a process without descriptors does, then accepts.
    struct OutOfDescriptors {
        listener: TcpListener,
        failures_left: AtomicUsize,
    }

    impl Accept for OutOfDescriptors {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            const EMFILE: i32 = 24;
            let left = |n: usize| n.checked_sub(1);
            match self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
                Ok(_) => Err(io::Error::from_raw_os_error(EMFILE)),
                Err(_) => self.listener.accept().await,
            }
        }
    }

    #[tokio::test]
    async fn running_out_of_descriptors_is_survived() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tracker = TaskTracker::new();
        let hard = CancellationToken::new();
        let accept = OutOfDescriptors { listener, failures_left: AtomicUsize::new(3) };
        let router = axum::Router::new().route("/", get(|| async { "served" }));
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("served"), "{answer}");
            hard.cancel();
        };
        let served = serve_accepted(
            accept,
            router,
            Terms { config: Config::default(), slots: Slots::new(1), tls: None },
            &tracker,
            CancellationToken::new(),
            hard.clone(),
        );
        let both = futures_util::future::join(served, client);
        tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    }
}
