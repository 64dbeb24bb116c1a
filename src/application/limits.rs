//! Rates: the generic cell rate algorithm (ITU-T I.371), one number a key, on the node's own clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::time::Tick;

/// So many per second, with bursts of twice that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run; at least 1.
    pub per_second: u32,
}

/// A burst is what comes at once after a rest: this many seconds' worth.
pub const BURST_SECONDS: u32 = 2;
const MICROS_PER_SECOND: u64 = 1_000_000;

impl Rate {
    /// So many times as much.
    #[must_use]
    pub fn times(self, factor: u32) -> Self {
        Self { per_second: self.per_second.saturating_mul(factor) }
    }

    fn step_micros(self) -> u64 {
        // Above one a microsecond there is no rate.
        (MICROS_PER_SECOND / u64::from(self.per_second.max(1))).max(1)
    }
}

/// What one key has used up: the time at which it will all be earned again.
#[derive(Debug, Default)]
pub struct Meter {
    earned_at_micros: AtomicU64,
}

impl Meter {
    /// Lets one pass, or says when the next will.
    ///
    /// # Errors
    /// How long to wait. What was refused uses nothing up.
    pub fn pass(&self, rate: Rate, now: Tick) -> Result<(), Duration> {
        self.take(1, rate, now)
    }

    /// Lets something pass that counts for several; for no more than a whole burst.
    ///
    /// # Errors
    /// How long to wait. What was refused uses nothing up.
    pub fn take(&self, cost: u32, rate: Rate, now: Tick) -> Result<(), Duration> {
        self.take_within(cost, rate, BURST_SECONDS, now)
    }

    /// The same with another burst.
    ///
    /// # Errors
    /// How long to wait. What was refused uses nothing up.
    pub fn take_within(&self, cost: u32, rate: Rate, burst_seconds: u32, now: Tick) -> Result<(), Duration> {
        let now = now.0.saturating_mul(1000);
        let burst = u64::from(burst_seconds) * MICROS_PER_SECOND;
        let used = u64::from(cost).saturating_mul(rate.step_micros()).min(burst);
        let mut known = self.earned_at_micros.load(Ordering::Relaxed);
        loop {
            let next = known.max(now) + used;
            if next > now + burst {
                // Rounded up, so that whoever waits for it passes.
                return Err(Duration::from_millis((next - now - burst).div_ceil(1000)));
            }
            match self.earned_at_micros.compare_exchange_weak(
                known,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(changed) => known = changed,
            }
        }
    }

    /// Counts what has passed already: what comes next waits for it. Nobody is made to wait for more than a burst by it.
    pub fn owe(&self, cost: u32, rate: Rate, now: Tick) {
        let now = now.0.saturating_mul(1000);
        let burst = u64::from(BURST_SECONDS) * MICROS_PER_SECOND;
        let used = u64::from(cost).saturating_mul(rate.step_micros());
        let after = |known: u64| Some(known.max(now).saturating_add(used).min(now + 2 * burst));
        // It always is something.
        let _ = self.earned_at_micros.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_twice_the_rate_passes_and_then_the_rate() {
        let (meter, rate) = (Meter::default(), Rate { per_second: 5 });
        let start = Tick(1000);
        assert_eq!((0..20).filter(|_| meter.pass(rate, start).is_ok()).count(), 10);
        let wait = meter.pass(rate, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(200));
        assert!(meter.pass(rate, Tick(1199)).is_err());
        assert!(meter.pass(rate, start.plus(wait)).is_ok());
        assert_eq!((0..100).filter(|n| meter.pass(rate, Tick(2000 + n * 100)).is_ok()).count(), 53);
    }

    #[test]
    fn what_is_owed_is_paid_by_those_who_come_next() {
        let (meter, rate) = (Meter::default(), Rate { per_second: 5 });
        assert!((0..10).all(|_| meter.pass(rate, Tick(0)).is_ok()));
        meter.owe(2, rate, Tick(0));
        assert_eq!(meter.pass(rate, Tick(0)), Err(Duration::from_millis(600)));
        meter.owe(1_000_000, rate, Tick(0));
        assert!(meter.pass(rate, Tick(0)).unwrap_err() <= Duration::from_secs(3));
    }

    #[test]
    fn what_counts_for_several_uses_several_up_and_passes_after_a_rest_however_much_it_is() {
        let (meter, rate) = (Meter::default(), Rate { per_second: 5 });
        assert!(meter.take(7, rate, Tick(0)).is_ok());
        assert_eq!(meter.take(7, rate, Tick(0)), Err(Duration::from_millis(800)));
        assert!(meter.take(3, rate, Tick(0)).is_ok());
        assert!(meter.pass(rate, Tick(0)).is_err());
        assert!(meter.take(1000, rate, Tick(2000)).is_ok());
        assert!(meter.pass(rate, Tick(2000)).is_err());
    }
}
