//! A live link: to one server, kept up without end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::company::Company;
use super::intake::{Intake, Pushes};
use super::line::Line;
use super::routes::{LinkId, slot};
use crate::adapters::outbound::redis::connection::Connection;

/// What the task of a link is called.
pub(super) const LIVE_LINK: &str = "a live link to Redis";
/// First and longest wait between two attempts to connect; the real one is anything from half of it up to all of it.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A connection that stood for so long begins anew with [`BACKOFF_FIRST`].
const STEADY_AFTER: Duration = Duration::from_secs(5);
/// Names that are tried for a probe channel in one of a server's slots: enough to find a single slot of 16384.
const PROBE_NAMES_MAX: u32 = 250_000;

/// A server of a cluster: where it is, and its slots at the moment, as ranges.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) host: (String, u16),
    pub(super) slots: Mutex<Vec<(u16, u16)>>,
}

/// Which server a link is to.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// The one server, or the one that Sentinels name at the moment.
    TheOne,
    /// A server of a cluster.
    Node(Arc<Node>),
}

/// A link to one server.
pub(super) struct Link {
    id: LinkId,
    target: Target,
    work: Arc<Notify>,
    company: Arc<Company>,
}

impl Link {
    /// A link that does nothing yet; channels can be routed to it from now on.
    pub(super) fn open(id: LinkId, target: Target, company: Arc<Company>) -> Self {
        let work = company.channels.open(id);
        company.times.open(id);
        Self { id, target, work, company }
    }

    /// Keeps the link up until it is told to stop.
    pub(super) async fn run(self, until: CancellationToken) {
        tokio::select! {
            () = until.cancelled() => {}
            () = self.keep_up() => {}
        }
    }

    async fn keep_up(&self) {
        let server = match &self.target {
            Target::TheOne => "the one".to_owned(),
            Target::Node(node) => format!("{}:{}", node.host.0, node.host.1),
        };
        let mut wait = BACKOFF_FIRST;
        let mut down_is_news = true;
        loop {
            match self.connect().await {
                Ok(line) => {
                    tracing::info!(server, "the live link to Redis is up");
                    self.wait_for_commands().await;
                    let since = Instant::now();
                    let why = line.serve(&self.work, || self.probe_channel()).await;
                    tracing::warn!(server, %why, "the live link to Redis is lost");
                    down_is_news = false;
                    if since.elapsed() >= STEADY_AFTER {
                        wait = BACKOFF_FIRST;
                    }
                }
                // Only its category: its details repeat what the server says.
                Err(error) if down_is_news => {
                    tracing::warn!(server, why = error.category(), "no live link to Redis");
                    down_is_news = false;
                }
                Err(error) => tracing::debug!(server, why = error.category(), "no live link to Redis"),
            }
            // The server may be gone for good, and its slots with another.
            self.company.doubts.notify_one();
            let pause = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
            // Ends early when the commands get through.
            let _ = tokio::time::timeout(pause, self.company.commands.comes_up()).await;
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    /// What is subscribed again is read again at once: by then commands should be answered. They are not waited for
    /// longer than they may take to connect.
    async fn wait_for_commands(&self) {
        self.company.commands.hint();
        let up = self.company.commands.wait_until(true);
        let _ = tokio::time::timeout(self.company.config.connect_timeout, up).await;
    }

    async fn connect(&self) -> RedisResult<Line> {
        let company = &self.company;
        let connect_timeout = company.config.connect_timeout;
        let lost = CancellationToken::new();
        let intake = Intake::new(self.id, company.clone());
        let pushes = Pushes::new(intake.clone(), lost.clone());
        let connection = match &self.target {
            Target::TheOne => {
                match company.servers.connect(connect_timeout, connect_timeout, pushes).await? {
                    Connection::Server(connection) => connection,
                    Connection::Cluster(_) => return Err(not_one_server()),
                }
            }
            Target::Node(node) => company.servers.connect_to(&node.host, connect_timeout, pushes).await?,
        };
        Ok(Line { link: self.id, connection, intake, lost, company: company.clone() })
    }

    /// A channel of this node alone, in a slot that the server has now.
    fn probe_channel(&self) -> Option<String> {
        let prefix = &self.company.probe_prefix;
        match &self.target {
            Target::TheOne => Some(format!("{prefix}0")),
            Target::Node(node) => {
                let slots = node.slots.lock();
                let is_here = |slot: u16| slots.iter().any(|(first, last)| (*first..=*last).contains(&slot));
                (0..PROBE_NAMES_MAX).map(|n| format!("{prefix}{n}")).find(|name| is_here(slot(name)))
            }
        }
    }
}

fn not_one_server() -> RedisError {
    (ErrorKind::InvalidClientConfig, "a cluster has several servers").into()
}
