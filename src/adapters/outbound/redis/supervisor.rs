//! Keeps a link up: connects, watches, connects again, without end.

use std::sync::Arc;
use std::time::Duration;

use redis::{PushInfo, PushKind, RedisResult};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::servers::Servers;
use super::streams;

/// First and longest wait between two attempts to connect; the real one is anything from half of it up to all of it.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A link that was up for this long begins anew with [`BACKOFF_FIRST`].
const STEADY_AFTER: Duration = Duration::from_secs(5);
/// How often an idle link is asked whether it is still there.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// Least time between two rebuilds of a cluster's link.
const REBUILD_EVERY: Duration = Duration::from_secs(1);

/// How the link is.
#[derive(Clone)]
pub(super) enum State {
    /// It was lost a moment ago, or has never been up: the first attempt is under way.
    Connecting,
    /// It is up.
    Up(Link),
    /// An attempt has failed.
    Down,
}

/// One life of the link.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) connection: Connection,
    /// Rises with every new connection.
    pub(super) generation: u64,
}

/// Where callers see how the link is, and tell what they make of it.
pub(super) struct Desk {
    pub(super) state: watch::Sender<State>,
    /// Somebody has waited in vain: look whether it is still there.
    doubted: Notify,
    /// It is no use any more.
    broken: Notify,
    /// Somebody has just reached the servers: no need to wait for the next attempt.
    hint: Notify,
}

impl Desk {
    pub(super) fn new() -> Arc<Self> {
        let state = watch::Sender::new(State::Connecting);
        Arc::new(Self { state, doubted: Notify::new(), broken: Notify::new(), hint: Notify::new() })
    }

    /// The link should be looked at.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// The servers can be reached: if the link waits for its next attempt, this is the moment.
    pub(super) fn hint(&self) {
        self.hint.notify_waiters();
    }

    /// The link of this generation is no use any more. The next one is waited for in [`State::Connecting`].
    pub(super) fn give_up(&self, generation: u64) {
        let given_up = self.state.send_if_modified(|state| match state {
            State::Up(link) if link.generation == generation => {
                *state = State::Connecting;
                true
            }
            _ => false,
        });
        if given_up {
            self.broken.notify_one();
        }
    }
}

/// Keeps a link to these servers up.
pub(super) struct Supervisor {
    pub(super) servers: Servers,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) desk: Arc<Desk>,
}

impl Supervisor {
    /// Works until it is told to stop; then the link is down for good.
    pub(super) async fn run(self, until: CancellationToken) {
        tokio::select! {
            () = until.cancelled() => {}
            () = self.keep_up() => {}
        }
        self.desk.state.send_replace(State::Down);
    }

    async fn keep_up(&self) {
        let mut generation = 0;
        let mut wait = BACKOFF_FIRST;
        loop {
            generation += 1;
            match self.connect(generation).await {
                Ok(connection) => {
                    tracing::info!("the link to Redis is up");
                    let since = Instant::now();
                    generation = self.watch(connection, generation).await;
                    tracing::warn!("the link to Redis is lost");
                    if since.elapsed() >= STEADY_AFTER {
                        wait = BACKOFF_FIRST;
                        continue;
                    }
                }
                Err(error) => {
                    // Not the error itself: its details repeat what the server says, and that may repeat commands.
                    let why = error.category();
                    if self.desk.state.send_replace(State::Down).is_down() {
                        tracing::debug!(why, "Redis does not answer");
                    } else {
                        tracing::warn!(why, "Redis does not answer");
                    }
                }
            }
            if wait > BACKOFF_FIRST {
                // Nobody should wait for a link that comes and goes.
                self.desk.state.send_replace(State::Down);
            }
            let pause = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
            // Ends early by a hint.
            let _ = tokio::time::timeout(pause, self.desk.hint.notified()).await;
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    /// A connection that has answered.
    async fn connect(&self, generation: u64) -> RedisResult<Connection> {
        let desk = Arc::downgrade(&self.desk);
        let cluster = self.servers.are_cluster();
        let pushes = move |push: PushInfo| {
            // A cluster's client finds the lost server by itself.
            if push.kind == PushKind::Disconnection && !cluster {
                desk.upgrade().ok_or(redis::aio::SendError)?.give_up(generation);
            }
            Ok::<(), redis::aio::SendError>(())
        };
        let mut connection =
            self.servers.connect(self.connect_timeout, self.response_timeout, pushes).await?;
        self.probe(&mut connection).await?;
        self.teach(&mut connection).await;
        Ok(connection)
    }

    /// Tells a server the script that all feeds call at once after a reconnect: a server that was started anew knows
    /// none, and each call would bring the whole text.
    async fn teach(&self, connection: &mut Connection) {
        // A cluster's client would ask every server, and one that is lost must not cost the rest.
        if let Connection::Server(_) = connection {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(streams::READ_SCRIPT);
            // Not vital, and not every user of the server may do it.
            let _ = tokio::time::timeout(self.response_timeout, connection.command(&load)).await;
        }
    }

    /// A server that is still loading, or that wants a password it was not given, says so.
    async fn probe(&self, connection: &mut Connection) -> RedisResult<()> {
        let answered = match connection {
            // It has read the slots already. PING would ask every server, and one that is lost must not cost the rest.
            Connection::Cluster(_) => return Ok(()),
            Connection::Server(_) => {
                tokio::time::timeout(self.response_timeout, connection.command(&redis::cmd("PING"))).await
            }
        };
        match answered {
            Ok(pong) => pong.map(|_| ()),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Returns when the link is lost, with the last generation that was used.
    async fn watch(&self, mut connection: Connection, mut generation: u64) -> u64 {
        self.desk.state.send_replace(State::Up(Link { connection: connection.clone(), generation }));
        let mut rebuilt = Instant::now();
        loop {
            let probe_due = tokio::time::sleep(PROBE_EVERY);
            tokio::select! {
                biased;
                () = self.desk.broken.notified() => {
                    // It may be about an earlier connection.
                    if !self.desk.state.borrow().is_up() { return generation; }
                }
                () = self.desk.doubted.notified() => {
                    let Connection::Cluster(_) = connection else {
                        if self.probe(&mut connection).await.is_err() { return self.lose(generation); }
                        continue;
                    };
                    if rebuilt.elapsed() < REBUILD_EVERY { continue; }
                    // The old one still serves what it can, until there is a new one.
                    rebuilt = Instant::now();
                    let Ok(fresh) = self.connect(generation + 1).await else { continue };
                    generation += 1;
                    connection = fresh.clone();
                    self.desk.state.send_replace(State::Up(Link { connection: fresh, generation }));
                }
                () = probe_due => {
                    if self.probe(&mut connection).await.is_err() { return self.lose(generation); }
                }
            }
        }
    }

    fn lose(&self, generation: u64) -> u64 {
        // It did not answer for as long as callers wait: they need not wait for the next attempt, too.
        self.desk.state.send_replace(State::Down);
        generation
    }
}

impl State {
    fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }

    fn is_down(&self) -> bool {
        matches!(self, Self::Down)
    }
}
