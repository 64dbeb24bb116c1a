//! The life of the process: it runs until it is asked to stop, leaves in order, and goes at once if asked again.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::application::vital::VitalTasks;

/// The tasks of a process and how they are told to end.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    /// Every task of the process, but for those that are awaited where they were made.
    pub tasks: TaskTracker,
    /// Ends what has no end of its own: no new connections, no background work.
    pub soft: CancellationToken,
    /// Ends everything.
    pub hard: CancellationToken,
    vital: VitalTasks,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (tasks, soft) = (TaskTracker::new(), CancellationToken::new());
        Self { vital: VitalTasks::from(tasks.clone()), tasks, soft, hard: CancellationToken::new() }
    }
}

impl Lifecycle {
    /// Those of the tasks that the process can't do without.
    #[must_use]
    pub fn vital(&self) -> &VitalTasks {
        &self.vital
    }

    /// Runs a task that the process can't do without until [`Self::soft`].
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.vital.spawn(name, self.soft.clone(), task);
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
    /// How a process ends that has left in order, if so because it was without this vital task.
    ///
    /// # Errors
    /// Which task has ended too early.
    pub fn without(broken: Option<&'static str>) -> anyhow::Result<Self> {
        match broken {
            None => Ok(Self::Done),
            Some(task) => Err(anyhow::anyhow!("{task}: has ended though nobody told it to")),
        }
    }

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
        run_until(async || self.next().await, lives, leave).await
    }
}

async fn run_until(
    mut asked: impl AsyncFnMut() -> StopSignal,
    lives: [&Lifecycle; 2],
    leave: impl Future<Output = ()>,
) -> anyhow::Result<Ending> {
    let broken = tokio::select! {
        _ = asked() => None,
        task = lives[0].vital.broken() => Some(task),
        task = lives[1].vital.broken() => Some(task),
    };
    tracing::info!("leaving");
    tokio::select! {
        () = leave => {}
        signal = asked() => return Ok(Ending::Abandoned(signal)),
    }
    Ending::without(broken)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt;

    use super::*;

    /// A process that nobody asks to stop.
    async fn run(lives: [&Lifecycle; 2], leave: impl Future<Output = ()>) -> anyhow::Result<Ending> {
        run_until(async || pending().await, lives, leave).await
    }

    #[tokio::test]
    async fn a_process_that_is_asked_to_stop_leaves_in_order_and_at_once_if_asked_again() {
        let life = Lifecycle::default();
        let once = || {
            let mut asked = false;
            async move || {
                if std::mem::replace(&mut asked, true) { pending().await } else { StopSignal::Terminate }
            }
        };
        assert_eq!(run_until(once(), [&life, &life], async {}).await.unwrap(), Ending::Done);
        let twice = async || StopSignal::Interrupt;
        let ended = run_until(twice, [&life, &life], pending()).await.unwrap();
        assert_eq!(ended, Ending::Abandoned(StopSignal::Interrupt));
    }

    #[tokio::test]
    async fn a_process_without_a_vital_task_leaves_in_order_and_fails() {
        for broken in 0..2 {
            let lives = [Lifecycle::default(), Lifecycle::default()];
            lives[broken].spawn_vital("the heart", async { panic!("as it happens") });
            let mut left = false;
            let ended = run([&lives[0], &lives[1]], async { left = true }).await;
            assert!(left);
            assert_eq!(ended.unwrap_err().to_string(), "the heart: has ended though nobody told it to");
        }
    }

    #[tokio::test]
    async fn what_panics_for_itself_alone_ends_no_process() {
        let life = Lifecycle::default();
        life.tasks.spawn(async { panic!("as it happens") }).await.unwrap_err();
        assert!(run([&life, &life], async {}).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_vital_task_ends_with_its_life() {
        let life = Lifecycle::default();
        let soft = life.soft.clone();
        life.spawn_vital("the heart", async move { soft.cancelled().await });
        life.end(Duration::from_secs(10)).await;
        assert!(life.vital.broken().now_or_never().is_none());
    }
}
