//! How connections hear that they are to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

/// Groups of connections. Whoever waits for a token's end takes its lock whenever it is polled: with one token for all,
/// connections would contend for it, and one for each would be the largest thing that most of them have.
const GROUPS: usize = 64;

/// What tells connections to end; all that share one are told together.
#[derive(Debug)]
pub(super) struct Ending {
    /// Finish what runs, begin nothing new. Also set when `hard` is.
    pub(super) finish: CancellationToken,
    /// Drop everything.
    pub(super) hard: CancellationToken,
}

/// The endings of a listener's connections, told by two tokens.
#[derive(Debug)]
pub(super) struct Endings {
    groups: Vec<Arc<Ending>>,
    next: AtomicUsize,
}

impl Endings {
    pub(super) fn told_by(finish: &CancellationToken, hard: &CancellationToken) -> Self {
        let group = || Arc::new(Ending { finish: finish.child_token(), hard: hard.child_token() });
        Self { groups: (0..GROUPS).map(|_| group()).collect(), next: AtomicUsize::new(0) }
    }

    /// For one more connection.
    pub(super) fn assign(&self) -> Arc<Ending> {
        self.groups[self.next.fetch_add(1, Ordering::Relaxed) % GROUPS].clone()
    }
}
