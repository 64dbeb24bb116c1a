//! What probes say: the time of the bus, up to when everything has arrived, and how long a link has been silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::channels::{Channels, Era};
use super::routes::LinkId;
use crate::application::ports::clock::Clock;
use crate::domain::time::{Tick, UnixMillis};

/// No server has told its time yet.
const UNKNOWN: i64 = i64::MIN;

/// A probe that came back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Returned {
    /// The server's time when it published the probe.
    pub(super) at: UnixMillis,
    /// The era in which it was sent, if all subscriptions stood.
    pub(super) era: Option<Era>,
}

struct LinkTimes {
    /// When a probe last came back, or when the link was opened.
    heard: Tick,
    /// The last probe that was sent and came back in one era.
    proof: Option<(Era, UnixMillis)>,
    /// The server's time less this node's ticks, in milliseconds.
    ahead_millis: Option<i64>,
}

/// The times of all links.
///
/// A probe is published by the server itself, with the server's time. Messages of one connection keep their order, so
/// when it comes back, everything that was published there before it has arrived, too. The wall clock of this node
/// plays no part: between probes time is carried on by ticks.
pub(super) struct Times {
    clock: Arc<dyn Clock>,
    started: Tick,
    links: Mutex<HashMap<LinkId, LinkTimes>>,
    settled_millis: AtomicU64,
    ahead_millis: AtomicI64,
}

impl Times {
    /// Nothing is known yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            started: clock.tick(),
            clock,
            links: Mutex::new(HashMap::new()),
            settled_millis: AtomicU64::new(0),
            ahead_millis: AtomicI64::new(UNKNOWN),
        }
    }

    /// There is one more link.
    pub(super) fn open(&self, link: LinkId) {
        let times = LinkTimes { heard: self.clock.tick(), proof: None, ahead_millis: None };
        self.links.lock().insert(link, times);
    }

    /// There is one link less. What had not settled there still has not: its channels are owed elsewhere.
    pub(super) fn close(&self, link: LinkId) {
        self.links.lock().remove(&link);
    }

    /// A probe came back over a link.
    pub(super) fn returned(&self, link: LinkId, probe: Returned, channels: &Channels) {
        let now = self.clock.tick();
        let present = channels.era();
        let mut links = self.links.lock();
        let Some(times) = links.get_mut(&link) else { return };
        times.heard = now;
        // The server's time is this or later: too early an estimate does no harm, it only makes readers read more.
        times.ahead_millis = Some(millis(probe.at.0) - millis(now.0));
        if let Some(era) = probe.era {
            // What was published after the probe may bear the same millisecond.
            times.proof = Some((era, probe.at.minus(Duration::from_millis(1))));
        }
        // Servers' clocks differ: the slowest counts.
        if let Some(ahead) = links.values().filter_map(|times| times.ahead_millis).min() {
            self.ahead_millis.store(ahead, Ordering::Release);
        }
        let proofs = links.values().map(|times| match (times.proof, present) {
            (Some((era, at)), Some(present)) if era == present => Some(at),
            _ => None,
        });
        if let Some(settled) = proofs.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min()) {
            self.settled_millis.store(settled.0, Ordering::Release);
        }
    }

    /// The time of the bus, now: that of its slowest server. Before any has told, this node's own.
    pub(super) fn now(&self) -> UnixMillis {
        match self.ahead_millis.load(Ordering::Acquire) {
            UNKNOWN => self.clock.unix(),
            ahead => UnixMillis(self.clock.tick().0.saturating_add_signed(ahead)),
        }
    }

    /// Up to when everything that was published has surely arrived; 1970 before the first probe came back.
    pub(super) fn settled(&self) -> UnixMillis {
        UnixMillis(self.settled_millis.load(Ordering::Acquire)).min(self.now())
    }

    /// How long the most silent link has been silent; without any link, how long there could have been one.
    pub(super) fn age(&self) -> Duration {
        let links = self.links.lock();
        let heard = links.values().map(|times| times.heard).min();
        self.clock.tick().since(heard.unwrap_or(self.started))
    }
}

fn millis(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}
