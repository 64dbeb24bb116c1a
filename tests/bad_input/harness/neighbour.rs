//! Somebody who did nothing wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::sync::Mutex;

use super::ask::{Asked, Over, Transport, Via};
use super::line::Line;
use super::server::Server;
use super::stage::User;

/// A user with a WebSocket and a stream, opened before anything bad came.
pub(crate) struct Neighbour {
    over: Over,
    user: User,
    socket: Mutex<Line>,
    stream: Mutex<Line>,
    asked: AtomicUsize,
}

impl Neighbour {
    pub(crate) async fn settle(server: &Arc<Server>, user: User) -> Self {
        let over = Over { server: server.clone(), via: Via::Http1 };
        let (socket, _) = over.attached("", &user.bearer()).await;
        let stream = over.session(Transport::Sse, &user.bearer()).await.line.expect("a stream");
        Self { over, user, socket: socket.into(), stream: stream.into(), asked: AtomicUsize::new(0) }
    }

    /// The old connection answers, and a new one is accepted.
    pub(crate) async fn is_served(&self) {
        let reference = self.asked.fetch_add(1, Ordering::Relaxed).to_string();
        let mut socket = self.socket.lock().await;
        socket.say(&json!({ "type": "ping", "ref": reference })).await;
        let pong = socket.hear_answer().await;
        assert_eq!((&pong["type"], &pong["ref"]), (&json!("pong"), &json!(reference)), "{pong}");
        drop(socket);
        let asked = Asked::new("POST", "/v1/tickets").with("authorization", self.user.bearer());
        let answer = self.over.ask(&asked).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The stream that has been open all the time is still written to.
    pub(crate) async fn stream_goes_on(&self) {
        self.stream.lock().await.read_until("{\"type\":\"heartbeat\"}").await;
    }
}
