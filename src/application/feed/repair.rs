//! Repair: something is missing, or may be, and the log is read once for all followers.

use std::sync::Arc;
use std::time::Duration;

use super::one::Feed;
use super::standing::MessageSeq;
use crate::application::ports::bus::{BusError, LogEntry, ReadFrom};
use crate::application::ports::telemetry::labels::RepairReason;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::domain::event::LogPosition;

/// Entries a repair reads at once.
const REPAIR_PAGE_ENTRIES: usize = 256;
/// First wait before a failed repair is tried again.
const REPAIR_BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest wait before a failed repair is tried again.
const REPAIR_BACKOFF_MAX: Duration = Duration::from_secs(2);

impl Feed {
    /// The audit's word on where the log stands: anything that the feed does not have is read. `asked` is where the feed
    /// stood before the log was asked: what comes in between is no news.
    pub fn audit(self: &Arc<Self>, asked: Option<&LogPosition>, head: &LogPosition) {
        let mut state = self.state.lock();
        let (Some(asked), Some(position)) = (asked, state.position.as_ref()) else { return };
        let is_new = position.epoch != head.epoch && position.epoch == asked.epoch;
        let is_behind = position.epoch == head.epoch && position.offset < head.offset;
        let is_rewound = asked.epoch == head.epoch && head.offset < asked.offset;
        // A payload may be on its way in right now; the repair finds out.
        if (is_new || is_behind || is_rewound) && state.inbox.is_empty() {
            state.distrust.get_or_insert(RepairReason::Audit);
            drop(state);
            self.wake();
        }
    }

    /// A session has read the log for itself, which ended at `head`. A log that is not the one that the feed knows is news
    /// for the feed, too. `asked` is as in [`Feed::audit`].
    pub fn learn(self: &Arc<Self>, asked: Option<&LogPosition>, head: &LogPosition) {
        let mut state = self.state.lock();
        let (Some(asked), Some(position)) = (asked, state.position.as_ref()) else { return };
        if position.epoch == asked.epoch && position.epoch != head.epoch {
            state.distrust.get_or_insert(RepairReason::NewEpoch);
            drop(state);
            self.wake();
        }
    }

    /// `None`: known already. `Some(None)`: the next one. `Some(Some(reason))`: something is missing before it.
    pub(super) fn suspicion(&self, entry: &LogEntry) -> Option<Option<RepairReason>> {
        let state = self.state.lock();
        let position = state.position.as_ref()?;
        if position.epoch != entry.epoch {
            Some(Some(RepairReason::NewEpoch))
        } else if entry.offset <= position.offset {
            None
        } else if entry.offset > position.offset + 1 {
            Some(Some(RepairReason::Hole))
        } else {
            Some(None)
        }
    }

    /// Reads the log once for all followers, and goes on in order. Tries until it succeeds or nobody follows.
    pub(super) async fn repair(self: &Arc<Self>, reason: RepairReason) {
        self.context.telemetry.record(Occurrence::Repaired(reason));
        if reason == RepairReason::Panicked {
            // Some were pushed what the others were not.
            self.distrust_all().await;
        }
        let words_lost = matches!(reason, RepairReason::Interrupted | RepairReason::Panicked);
        if words_lost && self.key.dialog().is_none() {
            // No log gives back what nodes say to each other.
            self.each_session(|session| {
                self.context.caretaker.words_missed(session);
                false
            })
            .await;
        }
        let mut wait = REPAIR_BACKOFF_FIRST;
        loop {
            // From here on a new interruption counts again.
            {
                let mut state = self.state.lock();
                state.distrust = None;
                state.repairing = true;
            }
            let read = self.read_on().await;
            self.state.lock().repairing = false;
            match read {
                Ok(()) => return,
                Err(error) => {
                    if self.is_idle() {
                        return;
                    }
                    tracing::debug!(feed = %self.key, %error, "repair failed; trying again");
                    self.distrust_all().await;
                    self.state.lock().distrust.get_or_insert(reason);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(REPAIR_BACKOFF_MAX);
                }
            }
        }
    }

    async fn read_on(self: &Arc<Self>) -> Result<(), BusError> {
        loop {
            let Some(position) = self.position() else { return Ok(()) };
            let slice = self.read(ReadFrom::AfterOffset(position.offset), REPAIR_PAGE_ENTRIES).await?;
            let follows = slice.head.epoch == position.epoch
                && slice.head.offset >= position.offset
                && slice.first_offset <= position.offset + 1;
            if !follows {
                // Each session knows best what it lacks: it reads for itself, and is told of its own gap.
                self.restart_at(slice.head).await;
                return Ok(());
            }
            for entry in &slice.entries {
                if self.suspicion(entry) == Some(None) {
                    self.advance(entry).await;
                }
            }
            let reached = self.position().is_some_and(|position| position.offset >= slice.head.offset);
            if reached || slice.entries.is_empty() {
                return Ok(());
            }
        }
    }

    async fn restart_at(&self, head: LogPosition) {
        {
            let mut state = self.state.lock();
            state.position = Some(head.clone());
            // Whatever the log says now, it has just changed.
            state.position_at = self.context.bus.time();
            state.message_seq = MessageSeq::Unasked;
            state.recent.clear();
        }
        self.each_session(|session| session.restart(&self.key, &head)).await;
    }

    async fn distrust_all(&self) {
        self.each_session(|session| session.with(|machine| machine.distrust(&self.key)).1).await;
    }

    /// A panic must not silence the dialog on this node: what was being pushed is read again, by the feed and by every
    /// session for itself.
    pub(super) async fn recover(&self) {
        tracing::error!(feed = %self.key, "a feed panicked: its log is read again");
        tokio::time::sleep(REPAIR_BACKOFF_MAX).await;
        let mut state = self.state.lock();
        state.repairing = false;
        state.distrust = Some(RepairReason::Panicked);
    }
}
