//! How many pings a peer may send.

use std::time::Duration;

use crate::domain::time::Tick;

/// What one ping costs: 10 of them a second can be kept up for ever.
pub const PING_INTERVAL: Duration = Duration::from_millis(100);
/// How many may come at once after a rest.
pub const PING_BURST_COUNT: u32 = 20;

/// A token bucket in eight bytes (GCRA): the time at which it will be full again.
#[derive(Debug, Clone, Copy, Default)]
pub struct PingAllowance {
    full_at: Tick,
}

impl PingAllowance {
    /// Takes one ping out of the bucket; false if there is none left.
    pub fn take(&mut self, now: Tick) -> bool {
        let full_at = self.full_at.max(now).plus(PING_INTERVAL);
        if full_at.since(now) > PING_INTERVAL * PING_BURST_COUNT {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_pings_may_come_at_once_and_ten_a_second_from_then_on() {
        let mut pings = PingAllowance::default();
        let mut now = Tick(5_000);
        assert!((0..PING_BURST_COUNT).all(|_| pings.take(now)));
        assert!(!pings.take(now));
        for _ in 0..1_000 {
            now = now.plus(PING_INTERVAL);
            assert!(pings.take(now));
        }
        assert!(!pings.take(now));
        now = now.plus(PING_INTERVAL * PING_BURST_COUNT);
        assert!((0..PING_BURST_COUNT).all(|_| pings.take(now)));
    }
}
