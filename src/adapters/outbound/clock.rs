//! The machine's own clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::application::ports::clock::Clock;
use crate::domain::time::{Tick, UnixMillis, whole_millis};

/// Ticks from tokio's clock, so that paused time pauses them; the wall clock read afresh every time.
///
/// The two are kept apart on purpose. Wall time derived from a start value would miss every later correction, and
/// `exp` and bus times must be judged by the time other machines agree on; deadlines must not jump with it.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose ticks begin now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn tick(&self) -> Tick {
        Tick(whole_millis(self.started.elapsed()))
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the Clock port meets the machine")]
    fn unix(&self) -> UnixMillis {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        // A machine that believes it is before 1970 has no usable time: then every `exp` is ahead and every `nbf` too.
        UnixMillis(since_1970.map_or(0, whole_millis))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ticks_move_with_tokio_time_and_only_with_it() {
        let clock = SystemClock::start();
        assert_eq!(clock.tick(), Tick(0));
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(clock.tick(), Tick(1500));
    }

    #[test]
    fn wall_time_is_after_this_was_written() {
        assert!(SystemClock::start().unix() > UnixMillis(1_760_000_000_000));
    }
}
