//! An echo server out of Edgeway's own listener, handshake and codec.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use edgeway::adapters::inbound::listener::accept::{self, Terms};
use edgeway::adapters::inbound::listener::config;
use edgeway::adapters::inbound::listener::slot::Slots;
use edgeway::adapters::inbound::listener::transport::Transport;
use edgeway::adapters::inbound::websocket::deflate::SharedDeflate;
use edgeway::adapters::inbound::websocket::reader::{Incoming, MessageLimits};
use edgeway::adapters::inbound::websocket::socket::{Event, SocketError, WebSocket};
use edgeway::adapters::inbound::websocket::{close, handshake};
use edgeway::adapters::inbound::ws::open::SUBPROTOCOL;
use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::application::ports::clock::Clock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The suite opens one after the other.
const CONNECTIONS_MAX: usize = 16;
/// The suite's largest message, and 4 MiB in fragments of 64 bytes with an empty one at the end. Everything else is as it
/// is shipped.
const LIMITS: MessageLimits = MessageLimits { bytes: 16 * 1024 * 1024, fragments: 65_537 };
/// So much of each echo goes in front as the connection's own, as a cursor does.
const PREFIX_BYTES: usize = 60;
/// As in `ws::farewell`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running echo server.
pub(crate) struct Echo {
    address: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Shared {
    deflate: SharedDeflate,
    clock: SystemClock,
    tasks: TaskTracker,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let shared =
            Shared { deflate: SharedDeflate::default(), clock: SystemClock::start(), tasks: tasks.clone() };
        let router = Router::new().fallback(any(open)).with_state(Arc::new(shared));
        let (tracker, hard) = (tasks.clone(), stop.clone());
        let slots = Slots::new(CONNECTIONS_MAX);
        let terms = Terms { config: config::Config::default(), slots, tls: None };
        tasks.spawn(async move {
            let soft = CancellationToken::new();
            accept::serve(listener, router, terms, &tracker, soft, hard).await;
        });
        Self { address, tasks, stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// Returns when no connection is left: each ends within [`CLOSE_TIMEOUT`] once its client is gone.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn open(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let accepted = match handshake::accept(&mut request, SUBPROTOCOL) {
        Ok(accepted) => accepted,
        Err(error) => return (error.status(), error.headers(), error.to_string()).into_response(),
    };
    shared.tasks.clone().spawn(async move {
        let Some((stream, read_ahead)) = accepted.upgrade.connection().await else { return };
        let mut socket = WebSocket::new(stream, read_ahead, LIMITS);
        if accepted.deflates {
            socket.deflate();
        }
        echo(socket, &shared).await;
    });
    accepted.response.map(|()| Body::empty())
}

async fn echo(mut socket: WebSocket<Transport>, shared: &Shared) {
    let (code, reason) = loop {
        if !socket.has_room() && socket.flush().await.is_err() {
            return;
        }
        match socket.event(shared.clock.tick()).await {
            Some(Ok(Event::Received(Incoming::Text(text)))) => {
                let text = Bytes::from(text);
                let (prefix, body) = text.split_at(text.len().min(PREFIX_BYTES));
                socket.feed_shared(prefix, &text.slice_ref(body), &shared.deflate);
            }
            Some(Ok(Event::Received(_) | Event::Flushed)) => {}
            Some(Err(SocketError::Violation(violation))) => break (violation.close_code, violation.reason),
            Some(Err(SocketError::Io(_))) => return,
            None => break (close::NORMAL, ""),
        }
    };
    socket.close(code, reason, CLOSE_TIMEOUT).await;
}
