//! The life of the process: it runs until it is asked to stop, leaves in order, and goes at once if asked again.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
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
    broken: Broken,
}

/// Which task has ended though nobody told it to.
#[derive(Debug, Clone, Default)]
struct Broken {
    task: Arc<OnceLock<&'static str>>,
    told: CancellationToken,
}

impl Lifecycle {
    /// Runs a task that the process can't do without: that it ends before [`Self::soft`], by itself or by a panic, is
    /// told by [`Self::broken`].
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (soft, broken) = (self.soft.clone(), self.broken.clone());
        self.tasks.spawn(async move {
            let panicked = AssertUnwindSafe(task).catch_unwind().await.is_err();
            if !soft.is_cancelled() {
                tracing::error!(task = name, panicked, "a task has ended that must not: the process leaves");
                // Whichever was first.
                let _ = broken.task.set(name);
                broken.told.cancel();
            }
        });
    }

    /// Waits until a vital task has ended too early, and tells which.
    pub async fn broken(&self) -> &'static str {
        self.broken.told.cancelled().await;
        self.broken.task.get().copied().unwrap_or_default()
    }

    /// Ends all tasks: first those that can end by themselves, after `grace` the rest.
    pub async fn end(&self, grace: Duration) {
        self.soft.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.hard.cancel();
        }
    }
}

/// Why a process that has done what it was started for, ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to stop, and has left in order; or had nothing to leave.
    Done,
    /// It was asked a second time, and went at once.
    Abandoned(StopSignal),
}

/// What asks a process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT, Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Ending {
    /// 0, or what shells make of a signal: 128 and its number.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Abandoned(StopSignal::Interrupt) => ExitCode::from(130),
            Self::Abandoned(StopSignal::Terminate) => ExitCode::from(143),
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
    pub async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.interrupt.recv() => StopSignal::Interrupt,
        }
    }

    /// Runs until the process is asked to stop or one of `lives` is broken; then leaves, unless it is asked again.
    ///
    /// # Errors
    /// Which task has ended too early.
    pub async fn run(
        &mut self,
        lives: [&Lifecycle; 2],
        leave: impl Future<Output = ()>,
    ) -> anyhow::Result<Ending> {
        let broken = tokio::select! {
            _ = self.next() => None,
            task = lives[0].broken() => Some(task),
            task = lives[1].broken() => Some(task),
        };
        tracing::info!("leaving");
        tokio::select! {
            () = leave => {}
            signal = self.next() => return Ok(Ending::Abandoned(signal)),
        }
        match broken {
            None => Ok(Ending::Done),
            Some(task) => Err(anyhow::anyhow!("{task}: has ended though nobody told it to")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vital_task_that_panics_or_ends_by_itself_is_told() {
        for panics in [true, false] {
            let life = Lifecycle::default();
            life.spawn_vital("the heart", async move { assert!(!panics, "as it happens") });
            assert_eq!(life.broken().await, "the heart");
        }
    }

    #[tokio::test]
    async fn a_vital_task_that_was_told_to_end_is_no_matter() {
        let life = Lifecycle::default();
        let soft = life.soft.clone();
        life.spawn_vital("the heart", async move { soft.cancelled().await });
        life.end(Duration::from_secs(10)).await;
        assert!(life.broken().now_or_never().is_none());
    }
}
