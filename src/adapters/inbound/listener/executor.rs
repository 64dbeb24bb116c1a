//! Where the tasks of an HTTP/2 connection's streams run.

use std::future::Future;

use tokio_util::task::TaskTracker;

/// Spawns on a tracker, so that no stream outlives its owner unseen. When its connection is dropped, h2 resets the
/// stream and the task ends.
#[derive(Debug, Clone)]
pub(in crate::adapters::inbound) struct TrackedExecutor(pub(in crate::adapters::inbound) TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}
