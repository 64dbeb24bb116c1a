//! What all clients of a swarm have seen together.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

#[derive(Default)]
pub(crate) struct Tally {
    /// Clients that have been welcomed.
    pub(crate) ready: AtomicU64,
    /// Events that have arrived.
    pub(crate) received: AtomicU64,
    /// Bytes that have arrived, as they came from the socket.
    pub(crate) bytes: AtomicU64,
    /// Clients whose connection has ended before its time, or that saw what they should not.
    pub(crate) failed: AtomicU64,
    pub(crate) first_failure: Mutex<Option<String>>,
    wanted: AtomicU64,
    changed: Notify,
    /// Whether the time of flight is noted.
    pub(crate) timing: AtomicBool,
    pub(crate) flights_us: Mutex<Vec<u32>>,
}

impl Tally {
    pub(crate) fn welcomed(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub(crate) fn received(&self, events: u64) {
        let now = self.received.fetch_add(events, Ordering::Relaxed) + events;
        if now >= self.wanted.load(Ordering::Relaxed) {
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn fail(&self, why: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.first_failure.lock().get_or_insert(why);
        self.changed.notify_waiters();
    }

    /// An error if a client has failed.
    pub(crate) fn ensure_all_well(&self) -> anyhow::Result<()> {
        match self.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => bail!("{failed} clients failed, the first: {:?}", self.first_failure.lock()),
        }
    }

    pub(crate) async fn wait_ready(&self, clients: u64, limit: Duration) -> anyhow::Result<()> {
        self.wait(limit, || self.ready.load(Ordering::Relaxed) >= clients).await
    }

    /// Waits until so many events have arrived since the beginning.
    pub(crate) async fn wait_received(&self, events: u64, limit: Duration) -> anyhow::Result<()> {
        self.wanted.store(events, Ordering::Relaxed);
        self.wait(limit, || self.received.load(Ordering::Relaxed) >= events).await
    }

    async fn wait(&self, limit: Duration, done: impl Fn() -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + limit;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if done() {
                return Ok(());
            }
            self.ensure_all_well()?;
            let left = end.saturating_duration_since(Instant::now());
            if timeout(left, changed).await.is_err() {
                let (ready, received) =
                    (self.ready.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed));
                bail!("not in time: {ready} clients are ready, {received} events have arrived");
            }
        }
    }

    /// The times of flight since the last call, sorted.
    pub(crate) fn take_flights(&self) -> Vec<u32> {
        let mut flights = std::mem::take(&mut *self.flights_us.lock());
        flights.sort_unstable();
        flights
    }
}

/// A value of a sorted list such that this part of all is not above it.
pub(crate) fn percentile(sorted: &[u32], part: f64) -> u32 {
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}
