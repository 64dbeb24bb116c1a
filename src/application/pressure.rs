//! How close a node is to its memory budget, and what it stops doing: first what can wait, last what was taken already.
//!
//! Each stage begins at its share of the budget and ends a good way below it, so that a node does not change its mind
//! with every message. From the first stage on, queues give up what their readers were handed; should they come back for
//! it, the logs have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::session::ledger::Ledger;

/// How much of the budget, in percent, makes each stage begin.
const BEGINS_PERCENT: [usize; 4] = [70, 80, 90, 100];
/// A stage ends so many percent of the budget below where it began.
const ENDS_BELOW_PERCENT: usize = 15;

/// What a node has stopped doing. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing.
    Calm,
    /// No replay is begun: no `since`, no session rebuilt from the logs.
    NoReplays,
    /// No session is begun.
    NoSessions,
    /// Ephemeral events are dropped.
    NoEphemerals,
    /// The largest queues are given up, to be read again from the logs once there is room.
    Spill,
}

const STAGES: [Stage; 5] =
    [Stage::Calm, Stage::NoReplays, Stage::NoSessions, Stage::NoEphemerals, Stage::Spill];

/// A budget, and what is held of it.
#[derive(Debug)]
pub struct Pressure {
    ledger: Arc<Ledger>,
    budget_bytes: usize,
    stage: AtomicU8,
}

impl Pressure {
    /// Of what this ledger counts.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, budget_bytes: usize) -> Self {
        Self { ledger, budget_bytes: budget_bytes.max(1), stage: AtomicU8::new(0) }
    }

    /// What is counted.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The stage at this moment.
    #[must_use]
    pub fn stage(&self) -> Stage {
        let held = self.ledger.bytes();
        let before = usize::from(self.stage.load(Ordering::Relaxed));
        let now = (1..STAGES.len()).rev().find(|&stage| {
            let began = self.share(BEGINS_PERCENT[stage - 1]);
            held >= if stage <= before { began - self.share(ENDS_BELOW_PERCENT) } else { began }
        });
        let now = now.unwrap_or(0);
        if now != before {
            self.stage.store(u8::try_from(now).unwrap_or(0), Ordering::Relaxed);
        }
        STAGES[now]
    }

    /// Whether a stage is reached.
    #[must_use]
    pub fn is_above(&self, stage: Stage) -> bool {
        self.stage() >= stage
    }

    fn share(&self, percent: usize) -> usize {
        (self.budget_bytes as u128 * percent as u128 / 100) as usize
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn stages_begin_at_their_share_and_end_a_good_way_below() {
        let ledger = Arc::new(Ledger::default());
        let pressure = Pressure::new(ledger.clone(), 1000);
        let hold = |bytes: usize| ledger.count(Bytes::from(vec![0; bytes]));
        assert_eq!(pressure.stage(), Stage::Calm);
        let first = hold(699);
        assert_eq!(pressure.stage(), Stage::Calm);
        let second = hold(1);
        assert_eq!(pressure.stage(), Stage::NoReplays);
        let third = hold(300);
        assert_eq!(pressure.stage(), Stage::Spill);
        drop(second);
        assert_eq!(pressure.stage(), Stage::Spill, "999 is not far enough below");
        drop(third);
        let rest = hold(150);
        assert_eq!(pressure.stage(), Stage::NoEphemerals, "849");
        drop(rest);
        assert_eq!(pressure.stage(), Stage::NoSessions, "699");
        drop(first);
        let little = hold(560);
        assert_eq!(pressure.stage(), Stage::NoReplays);
        drop(little);
        assert_eq!(pressure.stage(), Stage::Calm);
    }
}
