//! Runs one test: a runtime of its own, a deadline for the whole, and the server's log when it fails.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::server;

/// Longest that any one wait of a test may take.
pub(crate) const WAIT_SECONDS: u64 = 10;
/// Longest that a whole test may take.
const TEST_SECONDS: u64 = 120;

/// The deadline of one wait.
pub(crate) fn a_wait() -> Duration {
    Duration::from_secs(WAIT_SECONDS)
}

/// Runs a test to its end or its deadline.
pub(crate) fn run<Test, Running>(test: Test)
where
    Test: FnOnce() -> Running,
    Running: Future<Output = ()>,
{
    run_within(Duration::from_secs(TEST_SECONDS), test);
}

/// The same with a deadline of its own.
pub(crate) fn run_within<Test, Running>(limit: Duration, test: Test)
where
    Test: FnOnce() -> Running,
    Running: Future<Output = ()>,
{
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let running = Box::pin(test());
            let ended = tokio::time::timeout(limit, running).await;
            assert!(ended.is_ok(), "the test did not end within {limit:?}");
        });
    }));
    runtime.shutdown_background();
    if let Err(panic) = outcome {
        eprintln!("{}", server::log_tails());
        resume_unwind(panic);
    }
}

/// Waits for a future with the deadline of one wait.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(a_wait(), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {WAIT_SECONDS} s for {what}"),
    }
}

/// Asks again and again until the answer is there, within the deadline of one wait. For what can only be asked.
pub(crate) async fn eventually<T, Asking>(what: &str, mut ask: impl FnMut() -> Asking) -> T
where
    Asking: Future<Output = Option<T>>,
{
    const PAUSE: Duration = Duration::from_millis(10);
    within(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await
}
