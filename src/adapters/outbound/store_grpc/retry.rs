//! When a call is tried again: deadlines, full jitter, and a budget that keeps retries from burying a weak Store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::breaker::{self, CircuitBreaker};
use super::status::AttemptError;
use crate::application::ports::clock::Clock;
use crate::application::ports::store::StoreError;

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// One attempt.
    pub attempt: Duration,
    /// All attempts and the pauses between them.
    pub total: Duration,
}

/// How often, and after which pauses.
#[derive(Debug, Clone)]
pub struct Config {
    /// Most attempts of one call, the first included.
    pub attempts_max: u32,
    /// Longest pause before the second attempt; doubles from one to the next.
    pub backoff_base: Duration,
    /// Longest pause at all.
    pub backoff_max: Duration,
    /// Retries that are always in reserve when nothing has failed for a while.
    pub budget_retries_max: u32,
    /// Calls that must be made to earn one more retry.
    pub budget_calls_per_retry: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            backoff_base: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            budget_retries_max: 100,
            budget_calls_per_retry: 5,
        }
    }
}

/// Runs calls of one method under deadlines, with retries, behind the circuit breaker of that method and that of the link
/// to the Store.
pub(super) struct Retry {
    config: Config,
    budget: Budget,
    breaker: CircuitBreaker,
}

impl Retry {
    pub(super) fn new(config: Config, breaker: breaker::Config, clock: Arc<dyn Clock>) -> Self {
        let budget = Budget::new(config.budget_retries_max, config.budget_calls_per_retry);
        Self { config, budget, breaker: CircuitBreaker::new(breaker, clock) }
    }

    pub(super) fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// Tries until something final comes, or attempts, time or budget are used up; then the last failure is the answer.
    /// `attempt` is told how long it may take, and keeps to it. What times out says something about the method; what has no
    /// connection, about the `link`, too.
    pub(super) async fn run<T, F, Fut>(
        &self,
        link: &CircuitBreaker,
        deadline: Deadline,
        mut attempt: F,
    ) -> Result<T, StoreError>
    where
        F: FnMut(Duration) -> Fut,
        Fut: Future<Output = Result<T, AttemptError>>,
    {
        let give_up = Instant::now() + deadline.total;
        self.budget.earn();
        let mut last = AttemptError::Unavailable;
        for tried in 0..self.config.attempts_max {
            if tried > 0 && !self.pause(last, tried, give_up).await {
                break;
            }
            let (Some(link), Some(permit)) = (link.admit(), self.breaker.admit()) else { break };
            let limit = deadline.attempt.min(give_up.saturating_duration_since(Instant::now()));
            match attempt(limit).await {
                Ok(answer) => {
                    link.succeeded();
                    permit.succeeded();
                    return Ok(answer);
                }
                Err(error @ AttemptError::Final(StoreError::RateLimited { retry_after: Some(_) }))
                | Err(error @ AttemptError::Aborted) => {
                    link.succeeded();
                    permit.succeeded();
                    last = error;
                }
                Err(AttemptError::Final(error)) => {
                    link.succeeded();
                    permit.succeeded();
                    return Err(error);
                }
                Err(AttemptError::Unavailable) => {
                    link.failed();
                    permit.failed();
                    last = AttemptError::Unavailable;
                }
                Err(AttemptError::Timeout) => {
                    permit.failed();
                    last = AttemptError::Timeout;
                }
            }
        }
        Err(last.into())
    }

    /// Waits before another attempt; false when there should be none.
    async fn pause(&self, last: AttemptError, tried: u32, give_up: Instant) -> bool {
        let pause = match last {
            // The Store's own advice, as far as there is time for it.
            AttemptError::Final(StoreError::RateLimited { retry_after: Some(after) }) => after,
            _ => full_jitter(self.longest_pause(tried)),
        };
        if Instant::now() + pause >= give_up || !self.budget.spend() {
            return false;
        }
        sleep(pause).await;
        true
    }

    fn longest_pause(&self, tried: u32) -> Duration {
        let doublings = tried.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.config.backoff_base.saturating_mul(factor).min(self.config.backoff_max)
    }
}

/// Anything from nothing to `longest`, so that callers that failed together don't come back together.
fn full_jitter(longest: Duration) -> Duration {
    // Without randomness half of the longest is as good a guess as any.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// A token bucket of retries, filled by calls: in an outage retries are a fraction of the calls, not a multiple.
struct Budget {
    spend_points: u32,
    points_max: u32,
    points: Mutex<u32>,
}

impl Budget {
    fn new(retries_max: u32, calls_per_retry: u32) -> Self {
        let points_max = retries_max.saturating_mul(calls_per_retry);
        Self { spend_points: calls_per_retry, points_max, points: Mutex::new(points_max) }
    }

    fn earn(&self) {
        let mut points = self.points.lock();
        *points = points.saturating_add(1).min(self.points_max);
    }

    fn spend(&self) -> bool {
        let mut points = self.points.lock();
        match points.checked_sub(self.spend_points) {
            Some(left) => {
                *points = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::domain::time::{Tick, UnixMillis};

    const DEADLINE: Deadline = Deadline { attempt: Duration::from_secs(2), total: Duration::from_secs(5) };

    /// Ticks with tokio's paused time.
    struct TestClock(Instant);

    impl Clock for TestClock {
        fn tick(&self) -> Tick {
            Tick(u64::try_from(self.0.elapsed().as_millis()).unwrap())
        }

        fn unix(&self) -> UnixMillis {
            UnixMillis(self.tick().0)
        }
    }

    fn retry(config: Config) -> Retry {
        Retry::new(config, breaker::Config::default(), Arc::new(TestClock(Instant::now())))
    }

    fn link() -> CircuitBreaker {
        CircuitBreaker::new(breaker::Config::default(), Arc::new(TestClock(Instant::now())))
    }

    /// Runs a call whose attempts end as listed; the last one repeats.
    async fn run(retry: &Retry, script: &[Result<u8, AttemptError>]) -> (Result<u8, StoreError>, usize) {
        let mut attempts = 0;
        let outcome = retry
            .run(&link(), DEADLINE, |_| {
                attempts += 1;
                ready(script[(attempts - 1).min(script.len() - 1)])
            })
            .await;
        (outcome, attempts)
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_and_succeeds() {
        for error in [AttemptError::Unavailable, AttemptError::Timeout, AttemptError::Aborted] {
            let outcome = run(&retry(Config::default()), &[Err(error), Err(error), Ok(7)]).await;
            assert_eq!(outcome, (Ok(7), 3), "{error:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn three_attempts_are_all_and_the_last_failure_is_the_answer() {
        let script = [Err(AttemptError::Timeout), Err(AttemptError::Timeout), Err(AttemptError::Unavailable)];
        assert_eq!(run(&retry(Config::default()), &script).await, (Err(StoreError::Unavailable), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_answer_is_not_asked_for_again() {
        let script = [Err(AttemptError::Final(StoreError::Conflict))];
        assert_eq!(run(&retry(Config::default()), &script).await, (Err(StoreError::Conflict), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_stores_own_advice_is_followed_as_far_as_there_is_time() {
        let limited = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            AttemptError::Final(StoreError::RateLimited { retry_after })
        };
        let (began, retry) = (Instant::now(), retry(Config::default()));
        assert_eq!(run(&retry, &[Err(limited(2)), Ok(7)]).await, (Ok(7), 2));
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        assert_eq!(run(&retry, &[Err(limited(6))]).await, (Err(limited(6).into()), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_opens_the_circuit_of_its_method_and_not_that_of_the_link() {
        let (link, retry) = (link(), retry(Config::default()));
        for error in [AttemptError::Timeout, AttemptError::Unavailable] {
            assert!(!link.is_open(), "{error:?}");
            for _ in 0..10 {
                let _ = retry.run(&link, DEADLINE, |_| ready(Err::<(), _>(error))).await;
                sleep(Duration::from_secs(2)).await;
            }
        }
        assert!(link.is_open(), "no connection");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_ends_at_its_deadline_and_all_of_them_at_the_total() {
        let retry = retry(Config::default());
        let began = Instant::now();
        let mut limits = Vec::new();
        let outcome = retry
            .run(&link(), DEADLINE, |limit| {
                limits.push(limit);
                async move {
                    sleep(limit).await;
                    Err::<(), _>(AttemptError::Timeout)
                }
            })
            .await;
        assert_eq!(outcome, Err(StoreError::Timeout));
        assert_eq!(limits[..2], [DEADLINE.attempt, DEADLINE.attempt]);
        assert!(limits.len() <= 3);
        assert!(began.elapsed() <= DEADLINE.total + Duration::from_millis(1), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_used_up_budget_leaves_one_attempt_a_call_until_calls_have_earned_another() {
        let config =
            Config { budget_retries_max: 2, budget_calls_per_retry: 2, attempts_max: 3, ..Config::default() };
        let retry = retry(config);
        let down = [Err(AttemptError::Unavailable)];
        assert_eq!(run(&retry, &down).await.1, 3);
        assert_eq!(run(&retry, &down).await.1, 1);
        assert_eq!(run(&retry, &down).await.1, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_answers_at_once_and_asks_nobody() {
        let retry = retry(Config::default());
        let down = [Err(AttemptError::Unavailable)];
        while !retry.breaker().is_open() {
            assert_eq!(run(&retry, &down).await.0, Err(StoreError::Unavailable));
            sleep(Duration::from_millis(500)).await;
        }
        let began = Instant::now();
        assert_eq!(run(&retry, &[Ok(1)]).await, (Err(StoreError::Unavailable), 0));
        assert_eq!(began.elapsed(), Duration::ZERO);
        sleep(breaker::Config::default().open_for).await;
        assert_eq!(run(&retry, &[Ok(1)]).await, (Ok(1), 1));
        assert!(!retry.breaker().is_open());
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry::new(Config::default(), breaker::Config::default(), Arc::new(FixedClock));
        let pauses: Vec<_> = [1, 2, 3, 40].map(|tried| retry.longest_pause(tried).as_millis()).into();
        assert_eq!(pauses, [50, 100, 200, 1000]);
        for _ in 0..100 {
            assert!(full_jitter(Duration::from_millis(50)) <= Duration::from_millis(50));
        }
    }

    struct FixedClock;

    impl Clock for FixedClock {
        fn tick(&self) -> Tick {
            Tick(0)
        }

        fn unix(&self) -> UnixMillis {
            UnixMillis(0)
        }
    }
}
