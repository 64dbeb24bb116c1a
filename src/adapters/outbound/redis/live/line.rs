//! One connection of a live link, from its opening to its end.

use std::sync::Arc;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Pipeline, RedisError, Value};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::channels::Order;
use super::company::Company;
use super::intake::{Intake, Probe};
use super::routes::LinkId;

/// Channels that are subscribed in one round trip, each with a command of its own: in a cluster, several channels of
/// one command would have to lie in one slot.
const ORDERS_AT_ONCE_MAX: usize = 512;
/// Publishes a probe with the server's own time.
const PROBE: &str = "local now = redis.call('TIME') \
                     return redis.call('SPUBLISH', KEYS[1], ARGV[1] .. ' ' .. now[1] .. ' ' .. now[2])";

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// By the server, by the network, or by a sink that panicked.
    #[error("the connection is lost")]
    Lost,
    /// Nothing comes back.
    #[error("the server is silent")]
    Silent,
    /// Its master brings the same, and brings it first.
    #[error("the server is a replica")]
    Replica,
    /// Only the code: the rest of an error may repeat what was sent.
    #[error("the server refuses: {0}")]
    Refused(String),
}

/// An open connection.
pub(super) struct Line {
    pub(super) link: LinkId,
    pub(super) connection: MultiplexedConnection,
    pub(super) intake: Arc<Intake>,
    pub(super) lost: CancellationToken,
    pub(super) company: Arc<Company>,
}

impl Line {
    /// Serves until the end. `work` wakes it when there are orders; `probe_channel` names a channel of this server.
    pub(super) async fn serve(&self, work: &Notify, probe_channel: impl Fn() -> Option<String>) -> Ended {
        let ended = tokio::select! {
            () = self.lost.cancelled() => Ended::Lost,
            () = self.silence() => Ended::Silent,
            ended = self.keep_busy(work, probe_channel) => ended,
        };
        // All at once, and before anything else can be ordered: what was subscribed is ordered anew.
        self.company.channels.lost(self.intake.life());
        ended
    }

    /// Returns when nothing has come back for too long, whatever is waited for.
    async fn silence(&self) {
        loop {
            let until = self.intake.heard() + self.company.config.silence_max;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    async fn keep_busy(&self, work: &Notify, probe_channel: impl Fn() -> Option<String>) -> Ended {
        // The first probe goes out behind the orders that wait already: when it comes back, all of them stand.
        let mut probe_at = Instant::now();
        loop {
            if let Err(ended) = self.pass_on_orders().await {
                return ended;
            }
            if probe_at <= Instant::now() {
                if let Some(channel) = probe_channel()
                    && let Err(ended) = self.probe(&channel).await
                {
                    return ended;
                }
                probe_at = Instant::now() + self.company.config.probe_every;
            }
            tokio::select! {
                () = work.notified() => {}
                () = tokio::time::sleep_until(probe_at) => {}
            }
        }
    }

    async fn pass_on_orders(&self) -> Result<(), Ended> {
        loop {
            let orders = self.company.channels.orders(self.link, self.intake.life(), ORDERS_AT_ONCE_MAX);
            if orders.is_empty() {
                return Ok(());
            }
            let mut pipeline = Pipeline::with_capacity(orders.len());
            for order in &orders {
                match order {
                    Order::Subscribe(name) => pipeline.cmd("SSUBSCRIBE").arg(&**name),
                    Order::Unsubscribe(name) => pipeline.cmd("SUNSUBSCRIBE").arg(&**name),
                };
            }
            // Confirmations come in by the intake. An answer is only looked at for what it refuses: when a slot
            // moves, the library takes the server's word on that for an answer, and is off by one for a while.
            for answer in self.ask(&pipeline, orders.len()).await? {
                if let Value::ServerError(error) = answer {
                    self.refused(&error.into())?;
                }
            }
        }
    }

    /// `MOVED <slot> <server>`: its channels wait until it is known whose it is. Nothing else should be refused.
    fn refused(&self, error: &RedisError) -> Result<(), Ended> {
        let code = error.code().unwrap_or_else(|| error.category());
        let slot = error.detail().and_then(|detail| detail.split(' ').next()?.parse().ok());
        match slot {
            Some(slot) if code == "MOVED" => {
                self.company.channels.moved(self.intake.life(), slot);
                self.company.doubts.notify_one();
                Ok(())
            }
            _ => Err(Ended::Refused(code.to_owned())),
        }
    }

    /// Has the server publish to this very connection: proof that messages arrive, and up to when they have.
    async fn probe(&self, channel: &str) -> Result<(), Ended> {
        let nonce = fastrand::u64(..);
        self.intake.expect(Probe { nonce, era: self.company.channels.era() });
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("SSUBSCRIBE").arg(channel);
        pipeline.cmd("EVAL").arg(PROBE).arg(1).arg(channel).arg(nonce);
        // A demoted server still brings what its new master publishes, but late, and nobody says how late. So nothing
        // counts that comes back from one.
        pipeline.cmd("HELLO");
        for answer in self.ask(&pipeline, 3).await? {
            match answer {
                Value::Map(greeting) if is_of_replica(&greeting) => return Err(Ended::Replica),
                Value::ServerError(error) => {
                    tracing::debug!(code = error.code(), "a probe of the live link was refused");
                    self.company.doubts.notify_one();
                }
                _ => {}
            }
        }
        self.intake.answered_by_master();
        Ok(())
    }

    async fn ask(&self, pipeline: &Pipeline, commands: usize) -> Result<Vec<Value>, Ended> {
        let mut connection = self.connection.clone();
        connection.req_packed_commands(pipeline, 0, commands).await.map_err(|_| Ended::Lost)
    }
}

fn is_of_replica(greeting: &[(Value, Value)]) -> bool {
    let text = |value: &Value| match value {
        Value::BulkString(text) => Some(text.clone()),
        Value::SimpleString(text) => Some(text.clone().into_bytes()),
        _ => None,
    };
    greeting.iter().any(|(key, value)| {
        text(key).as_deref() == Some(b"role") && text(value).as_deref() == Some(b"replica")
    })
}
