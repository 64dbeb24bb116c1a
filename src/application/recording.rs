//! Writing sessions down: what of them must outlive this node.

use std::sync::Arc;

use super::gateway::Gateway;
use super::ports::records::Saved;
use super::sessions::live::{Chore, LiveSession};
use crate::domain::error::{ErrorCode, Refusal};
use crate::session::machine::Session;
use crate::session::reader::Dismissal;
use crate::session::snapshot::SessionSnapshot;

/// What came of writing a session down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It is written.
    Written,
    /// The bus did not take it.
    NotWritten,
    /// The session has ended, or goes on at another node.
    Gone,
}

impl Gateway {
    /// Writes down what must outlive this node.
    pub(super) async fn save_record(self: &Arc<Self>, session: &Arc<LiveSession>) -> Recorded {
        let (snapshot, live) = session.write_down();
        if !live {
            return Recorded::Gone;
        }
        let recorded = self.keep(session, &snapshot).await;
        if recorded == Recorded::Gone {
            return Recorded::Gone;
        }
        // It may have ended while it was being written.
        let ended = session.peek(Session::ended);
        if ended.is_some_and(ends_for_good) {
            self.remove_record(session).await;
        }
        if ended.is_none() { recorded } else { Recorded::Gone }
    }

    /// Saves a snapshot. If the session goes on at another node, it is over here.
    async fn keep(self: &Arc<Self>, session: &Arc<LiveSession>, snapshot: &SessionSnapshot) -> Recorded {
        match self.ports.records.save(snapshot).await {
            Ok(Saved::Written) => {
                session.with(|machine| machine.note_recorded(snapshot));
                Recorded::Written
            }
            Ok(Saved::Superseded) => {
                self.supersede(session).await;
                Recorded::Gone
            }
            Err(error) => {
                tracing::warn!(%error, "session record not saved");
                // Other nodes know of the session by its record alone.
                if !self.is_leaving() {
                    session.add_chore(Chore::Keep);
                    self.attend(session);
                }
                Recorded::NotWritten
            }
        }
    }

    /// The same for what a client is about to be told: what is not written down would be forgotten without a word when
    /// another node goes on.
    pub(super) async fn record_what_is_promised(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
    ) -> Result<(), Refusal> {
        match self.save_record(session).await {
            Recorded::Written => Ok(()),
            Recorded::NotWritten => {
                Err(Refusal::new(ErrorCode::Unavailable, "the session can't be written down right now"))
            }
            Recorded::Gone => {
                Err(Refusal::new(ErrorCode::Unavailable, "the session has ended, or goes on at another node"))
            }
        }
    }

    /// Writes a record that was not written yet. False if it can't be now either.
    pub(super) async fn keep_at_last(self: &Arc<Self>, session: &Arc<LiveSession>) -> bool {
        let (snapshot, _) = session.write_down();
        match self.ports.records.save(&snapshot).await {
            Ok(Saved::Written) => {
                session.with(|machine| machine.note_recorded(&snapshot));
                true
            }
            Ok(Saved::Superseded) => {
                self.supersede(session).await;
                true
            }
            Err(_) => self.is_leaving(),
        }
    }

    pub(super) async fn remove_record(&self, session: &Arc<LiveSession>) {
        if let Err(error) = self.ports.records.remove(session.id(), session.user_id()).await {
            tracing::warn!(%error, "session record not removed");
        }
    }
}

/// Whether a session that ended so is over everywhere: one that expired here or was superseded goes on.
pub(super) fn ends_for_good(why: Dismissal) -> bool {
    !matches!(why, Dismissal::Expired | Dismissal::Superseded)
}
