//! Walls between the methods: calls of one that hang take no room from the others.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How many calls are under way at the same time. Sends have connections of their own, the other methods share theirs,
/// and servers commonly allow 200 streams on one.
#[derive(Debug, Clone)]
pub struct Config {
    /// Of `Send`.
    pub sends_at_once: usize,
    /// Of each other method.
    pub others_at_once: usize,
    /// Callers of one method that wait for their turn; beyond, a call fails at once.
    pub waiting_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { sends_at_once: 192, others_at_once: 48, waiting_max: 4096 }
    }
}

/// The room for calls of one method.
pub(super) struct Bulkhead {
    slots: Semaphore,
    waiting: Semaphore,
}

impl Bulkhead {
    pub(super) fn new(at_once: usize, waiting_max: usize) -> Self {
        Self { slots: Semaphore::new(at_once), waiting: Semaphore::new(waiting_max) }
    }

    /// Waits for a place, in turn; `None` if there is none in time, or too many wait already.
    pub(super) async fn enter(&self, patience: Duration) -> Option<SemaphorePermit<'_>> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Some(slot);
        }
        let _waits = self.waiting.try_acquire().ok()?;
        timeout(patience, self.slots.acquire()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn over_the_bound_callers_wait_for_a_while_and_no_more_than_may() {
        let bulkhead = Bulkhead::new(1, 1);
        let inside = bulkhead.enter(PATIENCE).await.unwrap();
        let mut waits = Box::pin(bulkhead.enter(PATIENCE));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(bulkhead.enter(PATIENCE).await.is_none(), "one waits already");
        assert!(waits.await.is_none(), "nobody left in time");
        let waits = bulkhead.enter(PATIENCE);
        drop(inside);
        assert!(waits.await.is_some());
    }
}
