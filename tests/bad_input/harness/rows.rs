//! The table: rows with names, run side by side.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::stage::Stage;

/// Longest that all of it may take; waits of their own have shorter deadlines.
const DEADLINE: Duration = Duration::from_secs(120);
/// Rows that take longer are named in the output.
const SLOW: Duration = Duration::from_secs(12);
/// How many rows run at a time.
const AT_ONCE_ROWS: usize = 64;

/// Runs a test on a runtime of its own.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        tokio::time::timeout(DEADLINE, test).await.expect("the table is done within the deadline");
    });
}

type Check = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Rows that are to be checked.
#[derive(Default)]
pub(crate) struct Rows(Vec<(String, Check)>);

impl Rows {
    /// Adds a row; the check panics if the answer is another.
    pub(crate) fn add(&mut self, name: impl Into<String>, check: impl Future<Output = ()> + Send + 'static) {
        self.0.push((name.into(), Box::pin(check)));
    }

    /// Checks all rows, and the neighbours after each; tells every row that failed.
    pub(crate) async fn check(self, stage: &Arc<Stage>) {
        let wanted = std::env::var("EDGEWAY_TEST_ROWS").unwrap_or_default();
        let places = Arc::new(Semaphore::new(AT_ONCE_ROWS));
        let (tasks, mut running) = (TaskTracker::new(), Vec::new());
        for (name, check) in self.0.into_iter().filter(|(name, _)| name.contains(&wanted)) {
            let (places, stage) = (places.clone(), stage.clone());
            let task = tasks.spawn(async move {
                let _place = places.acquire_owned().await.expect("it is never closed");
                let start = Instant::now();
                check.await;
                let took = start.elapsed();
                stage.neighbours_are_served().await;
                took
            });
            running.push((name, task));
        }
        let count = running.len();
        assert!(count > 0, "no row's name contains {wanted:?}");
        let mut failed = Vec::new();
        for (name, task) in running {
            match task.await {
                Ok(took) if took > SLOW => eprintln!("{name} took {took:?}"),
                Ok(_) => {}
                Err(error) => {
                    let why = error.into_panic();
                    let text = why.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| why.downcast_ref::<&str>().map(ToString::to_string));
                    failed.push(format!("{name}: {}", text.unwrap_or_default()));
                }
            }
        }
        let panics = stage.panics();
        assert!(
            failed.is_empty() && panics.is_empty(),
            "{} of {count} rows:\n{}\npanics of the servers: {panics:?}",
            failed.len(),
            failed.join("\n")
        );
        stage.streams_go_on().await;
    }
}
