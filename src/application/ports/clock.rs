//! Time, as something that is given.

use crate::domain::time::{Tick, UnixMillis};

/// The one source of time of a node.
pub trait Clock: Send + Sync {
    /// Monotonic time, for deadlines.
    fn tick(&self) -> Tick;

    /// Wall-clock time, for what people and other machines see.
    fn unix(&self) -> UnixMillis;
}
