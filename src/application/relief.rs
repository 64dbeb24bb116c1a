//! What a node does about its memory budget: turns away what would need more, and gives up what can be read again.

use std::time::Duration;

use super::gateway::Gateway;
use super::ports::telemetry::labels::Limit;
use super::ports::telemetry::occurrence::Occurrence;
use super::pressure::Stage;
use crate::domain::error::{ErrorCode, Refusal};
use crate::session::machine::Session;

/// How many queues are made smaller before it is looked whether that was enough.
const RELIEVED_AT_ONCE: usize = 64;
/// When whoever is turned away may try again; longer by up to as much.
const RETRY_FIRST: Duration = Duration::from_secs(2);

impl Gateway {
    /// Whether something may begin that needs this stage not to be reached.
    ///
    /// # Errors
    /// `overloaded`, with a time to come back.
    pub(super) fn require_room(&self, stage: Stage) -> Result<(), Refusal> {
        if !self.pressure.is_above(stage) {
            return Ok(());
        }
        let limit = if stage == Stage::NoReplays { Limit::MemoryReplays } else { Limit::MemorySessions };
        self.ports.telemetry.record(Occurrence::LimitHit(limit));
        let after = RETRY_FIRST + RETRY_FIRST.mul_f64(fastrand::f64());
        Err(Refusal::new(ErrorCode::Overloaded, "this node has too much to do").retry_after(after))
    }

    /// Makes room if there is too little: by what was handed out already, then by the largest backlogs.
    pub(super) fn relieve(&self) {
        if !self.pressure.is_above(Stage::NoReplays) {
            return;
        }
        let mut queues: Vec<_> = self
            .sessions
            .all()
            .into_iter()
            .map(|session| (session.peek(|machine| machine.outbox().bytes()), session))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        queues.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for some in queues.chunks(RELIEVED_AT_ONCE) {
            for (_, session) in some {
                session.with(Session::give_up_read);
            }
            if !self.pressure.is_above(Stage::NoReplays) {
                return;
            }
        }
        if !self.pressure.is_above(Stage::Spill) {
            return;
        }
        self.feeds.forget_recent();
        for (_, session) in &queues {
            if !self.pressure.is_above(Stage::Spill) {
                return;
            }
            let (spilled, _) = session.with(Session::give_up_backlog);
            if spilled {
                self.ports.telemetry.record(Occurrence::Spilled);
                self.ports.telemetry.record(Occurrence::LimitHit(Limit::MemorySpills));
            }
        }
    }
}
