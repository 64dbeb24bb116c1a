//! The connections to other nodes, and who of them does not answer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hashbrown::HashMap;
use http::{Request, Response, Uri};
use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::connect::{Connector, RequestBody};
use super::trust::Trust;

/// How long a connection to another node may take, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a connection is pinged (RFC 9113 §6.7).
pub const PING_EVERY: Duration = Duration::from_secs(2);
/// How long a ping may stay unanswered: then the node hangs, and its sessions are rebuilt elsewhere.
pub const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How long another node's answer may take to begin: a poll waits 55 s by itself.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);
/// Requests on one connection; the listeners allow 256.
pub const REQUESTS_PER_CONNECTION_MAX: usize = 200;
/// Connections to one node.
pub const CONNECTIONS_PER_NODE_MAX: usize = 64;
/// Requests that wait at other nodes, streams included.
pub const REQUESTS_MAX: usize = 8192;
/// Nodes that are known; those without a connection go first.
const NODES_MAX: usize = 1024;
/// How long a node that did not answer is not asked again: those who come meanwhile need not wait for it, too.
pub const SUSPECT_FOR: Duration = Duration::from_secs(5);
/// A connection that breaks within this time had broken before: it is worth another try on a new one.
const BROKEN_AT_ONCE: Duration = Duration::from_millis(500);
/// What is read ahead of one answer; of all answers of a connection together, so that slow readers don't hold others up.
pub const STREAM_WINDOW_BYTES: u32 = 32 * 1024;
/// See [`STREAM_WINDOW_BYTES`].
pub const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Why another node gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It can't be reached, or hangs.
    #[error("the node does not answer")]
    Unreachable,
    /// It is there, but broke this request off.
    #[error("the node broke the request off")]
    BrokenOff,
    /// It did not begin to answer within [`ANSWER_TIMEOUT`].
    #[error("the node took too long")]
    TooSlow,
    /// There are as many requests to it, or to all, as there may be.
    #[error("too many requests to other nodes")]
    Busy,
    /// This node is leaving.
    #[error("this node is leaving")]
    Leaving,
}

/// The other nodes.
pub struct Peers {
    connector: Connector,
    by_address: Mutex<HashMap<Uri, Arc<Peer>>>,
    places: Arc<Semaphore>,
    leaving: CancellationToken,
    spread: Arc<OnceLock<Duration>>,
}

#[derive(Default)]
struct Peer {
    lines: Mutex<Vec<Line>>,
    /// Held while a connection is made: whoever waits for one meanwhile may use it, too.
    connecting: tokio::sync::Mutex<()>,
    suspect_until: Mutex<Option<Instant>>,
}

/// A connection, and its free places.
#[derive(Clone)]
struct Line {
    sender: SendRequest<RequestBody>,
    places: Arc<Semaphore>,
}

/// A connection with a place on it.
struct Seat {
    sender: SendRequest<RequestBody>,
    place: OwnedSemaphorePermit,
    fresh: bool,
}

impl Peers {
    /// No connection yet. They end with `stop`.
    #[must_use]
    pub fn new(trust: Trust, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            connector: Connector::new(trust, tasks, stop),
            by_address: Mutex::default(),
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
            leaving: CancellationToken::new(),
            spread: Arc::default(),
        }
    }

    /// This node leaves: whoever waits for another node is sent away, at some time within `spread`.
    pub fn leave(&self, spread: Duration) {
        let _ = self.spread.set(spread);
        self.leaving.cancel();
    }

    /// Ends when one who waits for another node is to be sent away.
    fn sent_away(&self) -> impl Future<Output = ()> + Send + use<> {
        let (leaving, spread) = (self.leaving.clone(), self.spread.clone());
        async move {
            leaving.cancelled().await;
            let spread = spread.get().copied().unwrap_or_default();
            tokio::time::sleep(spread.mul_f64(fastrand::f64())).await;
        }
    }

    /// Asks the node at this address (`scheme://host:port`); the answer's body comes as it is written there. To drop
    /// the future or the answer ends the request there, too.
    ///
    /// # Errors
    /// [`NoAnswer`]; except after `Busy`, the node may have done what was asked.
    pub async fn ask(
        &self,
        address: &Uri,
        request: &Request<RequestBody>,
    ) -> Result<Response<Answer>, NoAnswer> {
        let among_all = self.places.clone().try_acquire_owned().map_err(|_| NoAnswer::Busy)?;
        let peer = self.peer(address);
        let mut seat = self.seat(&peer, address, false).await?;
        let mut sent_away = Box::pin(self.sent_away());
        let began = Instant::now();
        let response = loop {
            let answered = tokio::select! {
                biased;
                () = &mut sent_away => return Err(NoAnswer::Leaving),
                answered = timeout(ANSWER_TIMEOUT, seat.sender.send_request(request.clone())) => answered,
            };
            match answered.map_err(|_| NoAnswer::TooSlow)? {
                Ok(response) => break response,
                Err(error) => tracing::debug!(%error, "another node gave no answer"),
            }
            // What breaks later has lost its connection, perhaps for want of an answered ping.
            let at_once = began.elapsed() < BROKEN_AT_ONCE;
            if at_once && !seat.sender.is_closed() {
                return Err(NoAnswer::BrokenOff);
            }
            if !at_once || seat.fresh {
                peer.suspect();
                return Err(NoAnswer::Unreachable);
            }
            seat = self.seat(&peer, address, true).await?;
        };
        let places = [seat.place, among_all];
        Ok(response.map(|body| Answer::new(body, sent_away, places)))
    }

    /// Whether there is a connection to the node, or one can be made. One that hangs may seem reachable.
    pub async fn is_reachable(&self, address: &Uri) -> bool {
        self.seat(&self.peer(address), address, false).await.is_ok()
    }

    fn peer(&self, address: &Uri) -> Arc<Peer> {
        let mut by_address = self.by_address.lock();
        if by_address.len() >= NODES_MAX {
            by_address.retain(|_, peer| peer.is_connected());
        }
        by_address.entry(address.clone()).or_default().clone()
    }

    async fn seat(&self, peer: &Peer, address: &Uri, anew: bool) -> Result<Seat, NoAnswer> {
        if !anew && let Some(seat) = peer.free_seat() {
            return Ok(seat);
        }
        let _one_at_a_time = peer.connecting.lock().await;
        if peer.is_suspect() {
            return Err(NoAnswer::Unreachable);
        }
        if let Some(seat) = peer.free_seat() {
            return Ok(seat);
        }
        if peer.lines.lock().len() >= CONNECTIONS_PER_NODE_MAX {
            return Err(NoAnswer::Busy);
        }
        let connected = timeout(CONNECT_TIMEOUT, Box::pin(self.connector.connect(address))).await;
        let sender = match connected {
            Ok(Ok(sender)) => sender,
            failed => {
                let why = failed.err().map_or("refused", |_| "no answer in time");
                tracing::info!(%address, why, "another node can't be reached");
                peer.suspect();
                return Err(NoAnswer::Unreachable);
            }
        };
        let places = Arc::new(Semaphore::new(REQUESTS_PER_CONNECTION_MAX));
        let place = places.clone().try_acquire_owned().map_err(|_| NoAnswer::Busy)?;
        peer.lines.lock().push(Line { sender: sender.clone(), places });
        Ok(Seat { sender, place, fresh: true })
    }
}

impl Peer {
    fn free_seat(&self) -> Option<Seat> {
        let mut lines = self.lines.lock();
        lines.retain(|line| !line.sender.is_closed());
        lines.iter().find_map(|line| {
            let place = line.places.clone().try_acquire_owned().ok()?;
            Some(Seat { sender: line.sender.clone(), place, fresh: false })
        })
    }

    fn is_connected(&self) -> bool {
        self.lines.lock().iter().any(|line| !line.sender.is_closed())
    }

    fn suspect(&self) {
        *self.suspect_until.lock() = Some(Instant::now() + SUSPECT_FOR);
    }

    fn is_suspect(&self) -> bool {
        self.suspect_until.lock().is_some_and(|until| Instant::now() < until)
    }
}
