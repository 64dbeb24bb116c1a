//! Time, as something that is given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::time::{Tick, UnixMillis, whole_millis};

/// The one source of time of a node.
pub trait Clock: Send + Sync {
    /// Monotonic time, for deadlines.
    fn tick(&self) -> Tick;

    /// Wall-clock time, for what people and other machines see.
    fn unix(&self) -> UnixMillis;
}

/// A clock that stands still until it is moved: for tests and simulation.
#[derive(Debug, Default)]
pub struct ManualClock {
    tick: AtomicU64,
    unix: AtomicU64,
}

impl ManualClock {
    /// A clock at tick 0 and the given wall time.
    #[must_use]
    pub fn at(unix: UnixMillis) -> Self {
        Self { tick: AtomicU64::new(0), unix: AtomicU64::new(unix.0) }
    }

    /// Lets time pass: ticks and wall time alike.
    pub fn advance(&self, by: Duration) {
        let millis = whole_millis(by);
        self.tick.fetch_add(millis, Ordering::SeqCst);
        self.unix.fetch_add(millis, Ordering::SeqCst);
    }

    /// Corrects the wall time, forward or back, as NTP or an operator does; ticks don't notice.
    pub fn set_unix(&self, unix: UnixMillis) {
        self.unix.store(unix.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn tick(&self) -> Tick {
        Tick(self.tick.load(Ordering::SeqCst))
    }

    fn unix(&self) -> UnixMillis {
        UnixMillis(self.unix.load(Ordering::SeqCst))
    }
}
