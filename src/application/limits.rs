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
const BURST_SECONDS: u64 = 2;
const MICROS_PER_SECOND: u64 = 1_000_000;

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
        let now = now.0.saturating_mul(1000);
        let step = MICROS_PER_SECOND / u64::from(rate.per_second.max(1));
        let burst = BURST_SECONDS * MICROS_PER_SECOND;
        let mut known = self.earned_at_micros.load(Ordering::Relaxed);
        loop {
            let next = known.max(now) + step;
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
}
