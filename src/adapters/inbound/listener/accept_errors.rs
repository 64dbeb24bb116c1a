//! Patience when accepting fails.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// At most one line in this time, however often it fails.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What was learnt from the accept errors so far.
#[derive(Debug, Default)]
pub(super) struct AcceptErrors {
    in_a_row: u32,
    logged_at: Option<Instant>,
    unlogged: u64,
}

/// What to do after an accept error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// How long to wait before the next try. Nothing was accepted, so the kernel would report the same at once.
    pub(super) pause: Duration,
    /// Whether to log, and how many errors went by in silence before this one.
    pub(super) log_with_unlogged: Option<u64>,
}

impl AcceptErrors {
    /// A connection was accepted: whatever it was is over.
    pub(super) fn recovered(&mut self) {
        self.in_a_row = 0;
    }

    /// What to do now. `None`: the error was one peer's, who left before being accepted; go on at once.
    pub(super) fn advise(&mut self, error: &io::Error, now: Instant) -> Option<Advice> {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::Interrupted
        ) {
            return None;
        }
        let doublings = self.in_a_row.min(PAUSE_MAX.as_millis().ilog2());
        let pause = (PAUSE_MIN * 2u32.pow(doublings)).min(PAUSE_MAX);
        self.in_a_row = self.in_a_row.saturating_add(1);
        let due = self.logged_at.is_none_or(|at| now.duration_since(at) >= LOG_INTERVAL);
        let log_with_unlogged = if due {
            self.logged_at = Some(now);
            Some(std::mem::take(&mut self.unlogged))
        } else {
            self.unlogged += 1;
            None
        };
        Some(Advice { pause, log_with_unlogged })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EMFILE: the process has no descriptor left.
    fn too_many_files() -> io::Error {
        io::Error::from_raw_os_error(24)
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_and_start_anew_after_a_success() {
        let mut errors = AcceptErrors::default();
        let mut pauses = Vec::new();
        for _ in 0..100 {
            pauses.push(errors.advise(&too_many_files(), Instant::now()).unwrap().pause);
        }
        assert_eq!(pauses[0], PAUSE_MIN);
        assert!(pauses.is_sorted());
        assert_eq!(pauses[99], PAUSE_MAX);
        errors.recovered();
        assert_eq!(errors.advise(&too_many_files(), Instant::now()).unwrap().pause, PAUSE_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_stays_quiet_and_tells_what_it_left_out() {
        let mut errors = AcceptErrors::default();
        let start = Instant::now();
        let logged = |advice: Option<Advice>| advice.unwrap().log_with_unlogged;
        assert_eq!(logged(errors.advise(&too_many_files(), start)), Some(0));
        for _ in 0..5 {
            assert_eq!(logged(errors.advise(&too_many_files(), start + LOG_INTERVAL / 2)), None);
        }
        errors.recovered();
        assert_eq!(logged(errors.advise(&too_many_files(), start + LOG_INTERVAL)), Some(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_left_early_costs_no_pause() {
        let mut errors = AcceptErrors::default();
        let aborted = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(errors.advise(&aborted, Instant::now()), None);
    }
}
