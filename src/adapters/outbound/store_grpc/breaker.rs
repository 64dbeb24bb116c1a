//! A circuit breaker: while the Store is surely down, nobody waits for it to time out.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::application::ports::clock::Clock;
use crate::domain::time::Tick;

/// When the circuit opens, and for how long.
#[derive(Debug, Clone)]
pub struct Config {
    /// Failures in a row that open it.
    pub failures_to_open: u32,
    /// How long the failures must have gone on: all the calls that one broken connection takes along are one blip.
    pub sustained_for: Duration,
    /// A pause between two failures that makes the later one the first of a new row.
    pub forget_after: Duration,
    /// How long nobody is let through before one probe is.
    pub open_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            failures_to_open: 5,
            sustained_for: Duration::from_secs(1),
            forget_after: Duration::from_secs(10),
            open_for: Duration::from_secs(2),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Row {
    failures: u32,
    first: Tick,
    last: Tick,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Everybody passes.
    Closed { row: Option<Row> },
    /// Nobody passes.
    Open { until: Tick },
    /// One probe is under way; nobody else passes.
    Probing,
}

/// Counts failures, and refuses to let calls through after too many.
pub(super) struct CircuitBreaker {
    config: Config,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl CircuitBreaker {
    pub(super) fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, state: Mutex::new(State::Closed { row: None }) }
    }

    /// Asks to let one attempt through; `None` means: fail at once.
    pub(super) fn admit(&self) -> Option<Permit<'_>> {
        let mut state = self.state.lock();
        let probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if self.clock.tick() >= until => {
                *state = State::Probing;
                true
            }
            State::Open { .. } | State::Probing => return None,
        };
        Some(Permit { breaker: self, probe, settled: false })
    }

    /// Whether the Store counts as down.
    pub(super) fn is_open(&self) -> bool {
        !matches!(*self.state.lock(), State::Closed { .. })
    }

    /// Whether a call would fail at once now: not any more when it could be the next probe.
    pub(super) fn fails_fast(&self) -> bool {
        match *self.state.lock() {
            State::Closed { .. } => false,
            State::Open { until } => self.clock.tick() < until,
            State::Probing => true,
        }
    }

    fn succeeded(&self, probe: bool) {
        let mut state = self.state.lock();
        // What was let through before the circuit opened may answer late: only the probe closes it again.
        if probe || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { row: None };
        }
    }

    fn failed(&self, probe: bool) {
        let now = self.clock.tick();
        let mut state = self.state.lock();
        match &mut *state {
            State::Closed { row } => {
                let counted = match *row {
                    Some(row) if now.since(row.last) <= self.config.forget_after => {
                        Row { failures: row.failures.saturating_add(1), last: now, ..row }
                    }
                    _ => Row { failures: 1, first: now, last: now },
                };
                *row = Some(counted);
                if counted.failures >= self.config.failures_to_open
                    && now.since(counted.first) >= self.config.sustained_for
                {
                    *state = State::Open { until: now.plus(self.config.open_for) };
                }
            }
            State::Probing if probe => *state = State::Open { until: now.plus(self.config.open_for) },
            State::Open { .. } | State::Probing => {}
        }
    }

    /// The probe went away without an answer: the next one may try at once.
    fn abandoned(&self) {
        *self.state.lock() = State::Open { until: self.clock.tick() };
    }
}

/// One attempt that was let through. Dropped without a word it counts for nothing.
pub(super) struct Permit<'b> {
    breaker: &'b CircuitBreaker,
    probe: bool,
    settled: bool,
}

impl Permit<'_> {
    /// Whether the circuit's fate hangs on this attempt.
    #[cfg(test)]
    pub(super) fn is_probe(&self) -> bool {
        self.probe
    }

    /// The Store answered.
    pub(super) fn succeeded(mut self) {
        self.settled = true;
        self.breaker.succeeded(self.probe);
    }

    /// The Store did not answer.
    pub(super) fn failed(mut self) {
        self.settled = true;
        self.breaker.failed(self.probe);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            self.breaker.abandoned();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::domain::time::UnixMillis;

    #[derive(Default)]
    struct HandClock(AtomicU64);

    impl HandClock {
        fn pass(&self, duration: Duration) {
            self.0.fetch_add(u64::try_from(duration.as_millis()).unwrap(), Ordering::Relaxed);
        }
    }

    impl Clock for HandClock {
        fn tick(&self) -> Tick {
            Tick(self.0.load(Ordering::Relaxed))
        }

        fn unix(&self) -> UnixMillis {
            UnixMillis(self.0.load(Ordering::Relaxed))
        }
    }

    fn breaker() -> (Arc<HandClock>, CircuitBreaker) {
        let clock = Arc::new(HandClock::default());
        (clock.clone(), CircuitBreaker::new(Config::default(), clock))
    }

    fn fail(breaker: &CircuitBreaker, times: u32) {
        for _ in 0..times {
            breaker.admit().unwrap().failed();
        }
    }

    fn opened() -> (Arc<HandClock>, CircuitBreaker) {
        let (clock, breaker) = breaker();
        fail(&breaker, 1);
        clock.pass(Duration::from_secs(1));
        fail(&breaker, 4);
        assert!(breaker.is_open());
        (clock, breaker)
    }

    #[test]
    fn a_blip_that_fails_many_calls_at_once_opens_nothing() {
        let (_, breaker) = breaker();
        fail(&breaker, 100);
        assert!(!breaker.is_open());
    }

    #[test]
    fn rare_failures_open_nothing() {
        let (clock, breaker) = breaker();
        for _ in 0..20 {
            fail(&breaker, 1);
            clock.pass(Duration::from_secs(11));
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn one_answer_in_between_starts_the_count_again() {
        let (clock, breaker) = breaker();
        fail(&breaker, 4);
        clock.pass(Duration::from_secs(2));
        breaker.admit().unwrap().succeeded();
        fail(&breaker, 4);
        assert!(!breaker.is_open());
    }

    #[test]
    fn sustained_failure_fails_fast_and_then_lets_one_probe_through() {
        let (clock, breaker) = opened();
        assert!(breaker.admit().is_none());
        clock.pass(Duration::from_secs(2));
        let probe = breaker.admit().unwrap();
        assert!(probe.is_probe());
        assert!(breaker.admit().is_none(), "only one probe");
        probe.failed();
        assert!(breaker.admit().is_none(), "the circuit is open again");
        clock.pass(Duration::from_secs(2));
        breaker.admit().unwrap().succeeded();
        assert!(!breaker.is_open());
        assert!(!breaker.admit().unwrap().is_probe());
    }

    #[test]
    fn a_probe_whose_caller_went_away_frees_its_place() {
        let (clock, breaker) = opened();
        clock.pass(Duration::from_secs(2));
        drop(breaker.admit().unwrap());
        assert!(breaker.is_open());
        assert!(breaker.admit().unwrap().is_probe());
    }

    #[test]
    fn a_late_answer_from_before_the_circuit_opened_does_not_close_it() {
        let (clock, breaker) = breaker();
        let late = breaker.admit().unwrap();
        fail(&breaker, 1);
        clock.pass(Duration::from_secs(1));
        fail(&breaker, 4);
        late.succeeded();
        assert!(breaker.is_open());
    }
}
