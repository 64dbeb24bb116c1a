//! The life of the process: it runs until it is asked to stop, leaves in order, and goes at once if asked again.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of a process and how they are told to end.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Every task of the process, but for those that are awaited where they were made.
    pub tasks: TaskTracker,
    /// Ends what has no end of its own: no new connections, no background work.
    pub soft: CancellationToken,
    /// Ends everything.
    pub hard: CancellationToken,
}

impl Lifecycle {
    /// Ends all tasks: first those that can end by themselves, after `grace` the rest.
    pub async fn end(&self, grace: Duration) {
        self.soft.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.hard.cancel();
        }
    }
}

/// SIGTERM and SIGINT.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From here on the signals don't end the process by themselves.
    ///
    /// # Errors
    /// When the signals can't be listened to.
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT")?,
        })
    }

    /// The next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
