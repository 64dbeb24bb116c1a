//! Whether anything runs on an HTTP/2 connection: hyper keeps one that answers pings for ever.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Looks in one idle time: it lasts so many parts at least, and at most one part longer.
const LOOKS: u32 = 2;

/// What runs on one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    running: AtomicUsize,
    /// Begins and ends, so that what came and went between two looks is seen.
    changes: AtomicUsize,
}

impl Activity {
    /// Something runs as long as the guard, or a clone of it, is there.
    pub(super) fn begin(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        self.0.changes.fetch_add(1, Ordering::Relaxed);
        Running { _guard: Arc::new(Guard(self.clone())) }
    }

    /// Returns when nothing has been running for so long, or up to half as long again.
    pub(super) async fn idle_for(&self, idle: Duration) {
        let mut changes = self.0.changes.load(Ordering::Relaxed);
        let mut quiet_looks = 0;
        while quiet_looks < LOOKS {
            tokio::time::sleep(idle / LOOKS).await;
            let now = self.0.changes.load(Ordering::Relaxed);
            let quiet = now == changes && self.0.running.load(Ordering::Relaxed) == 0;
            quiet_looks = if quiet { quiet_looks + 1 } else { 0 };
            changes = now;
        }
    }
}

/// Held by whatever runs.
#[derive(Debug, Clone)]
pub(super) struct Running {
    _guard: Arc<Guard>,
}

#[derive(Debug)]
struct Guard(Activity);

impl Drop for Guard {
    fn drop(&mut self) {
        let counts = &self.0.0;
        counts.running.fetch_sub(1, Ordering::Relaxed);
        counts.changes.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body that counts as running until it is dropped.
pub(super) fn hold(running: Running, body: Body) -> Body {
    Body::new(HeldBody { body, _running: running })
}

struct HeldBody {
    body: Body,
    _running: Running,
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    async fn idle_after(activity: &Activity) -> Duration {
        let start = tokio::time::Instant::now();
        activity.idle_for(IDLE).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_begins_is_idle() {
        assert!(idle_after(&Activity::default()).await >= IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_keeps_it_and_the_idle_time_counts_from_its_end() {
        let activity = Activity::default();
        let running = activity.begin();
        let both = async {
            tokio::time::sleep(IDLE * 5 + IDLE / 4).await;
            drop(running.clone());
            tokio::time::sleep(IDLE).await;
            drop(running);
        };
        let (took, ()) = futures_util::future::join(idle_after(&activity), both).await;
        let after = took - (IDLE * 6 + IDLE / 4);
        assert!(after >= IDLE && after <= IDLE * 3 / 2, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_and_goes_between_two_looks_counts() {
        let activity = Activity::default();
        let requests = async {
            for _ in 0..20 {
                tokio::time::sleep(IDLE * 2 / 5).await;
                drop(activity.begin());
            }
        };
        let (took, ()) = futures_util::future::join(idle_after(&activity), requests).await;
        assert!(took >= IDLE * 8 + IDLE, "{took:?}");
    }
}
