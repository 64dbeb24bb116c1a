//! Tasks that a process can't do without.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs tasks that have no end of their own. That one ends all the same, most of all by a panic, leaves a process that
/// looks alive and does half of its work: so it is told, and whoever runs the process ends it.
#[derive(Debug, Clone, Default)]
pub struct VitalTasks {
    tasks: TaskTracker,
    ended: Arc<OnceLock<&'static str>>,
    broken: CancellationToken,
}

impl From<TaskTracker> for VitalTasks {
    /// They are among these tasks.
    fn from(tasks: TaskTracker) -> Self {
        Self { tasks, ..Self::default() }
    }
}

impl VitalTasks {
    /// Runs a task that is to go on until `until`, and may go on a little longer. That it ends before, by itself or by a
    /// panic, is logged with its name and told by [`Self::broken`].
    pub fn spawn(
        &self,
        name: &'static str,
        until: CancellationToken,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (ended, broken) = (self.ended.clone(), self.broken.clone());
        self.tasks.spawn(async move {
            let panicked = AssertUnwindSafe(task).catch_unwind().await.is_err();
            if !until.is_cancelled() {
                tracing::error!(task = name, panicked, "a task has ended that must not: the process leaves");
                // Whichever was first.
                let _ = ended.set(name);
                broken.cancel();
            }
        });
    }

    /// Waits until a task has ended too early, and tells which.
    pub async fn broken(&self) -> &'static str {
        self.broken.cancelled().await;
        self.ended.get().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_or_ends_by_itself_is_told() {
        for panics in [true, false] {
            let vital = VitalTasks::default();
            vital.spawn("the heart", CancellationToken::new(), async move {
                assert!(!panics, "as it happens");
            });
            assert_eq!(vital.broken().await, "the heart");
        }
    }

    #[tokio::test]
    async fn a_task_that_was_told_to_end_is_no_matter() {
        let (tasks, until) = (TaskTracker::new(), CancellationToken::new());
        let vital = VitalTasks::from(tasks.clone());
        let told = until.clone();
        vital.spawn("the heart", until.clone(), async move { told.cancelled().await });
        until.cancel();
        tasks.close();
        tasks.wait().await;
        assert!(vital.broken().now_or_never().is_none());
    }

    #[tokio::test]
    async fn of_several_the_first_is_told() {
        let vital = VitalTasks::default();
        vital.spawn("the heart", CancellationToken::new(), async {});
        assert_eq!(vital.broken().await, "the heart");
        vital.spawn("the lungs", CancellationToken::new(), async {});
        assert_eq!(vital.broken().await, "the heart");
    }
}
