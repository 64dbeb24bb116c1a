//! Fan-out: what a feed hands to each of its followers.

use std::sync::Arc;

use super::one::Feed;
use crate::application::ports::bus::LogEntry;
use crate::application::ports::telemetry::labels::Limit;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::pressure::Stage;
use crate::application::sessions::live::LiveSession;
use crate::domain::event::{Event, EventKind};

/// Sessions a broadcast serves before it lets others run.
const BROADCAST_SLICE_SESSIONS: usize = 1024;

impl Feed {
    pub(super) async fn broadcast(&self, event: &Arc<Event>) {
        if let EventKind::Membership { dialog, user, .. } = &event.kind {
            self.context.caretaker.membership_changed(user, dialog);
        }
        if let EventKind::Node(word) = &event.kind {
            return self.context.caretaker.node_said(&self.key, word);
        }
        if event.logged.is_none() && self.sheds_ephemerals(event) {
            return;
        }
        let settled = self.context.bus.settled();
        self.each_session(|session| {
            let delivery = session.deliver(event, settled);
            if delivery.spilled {
                self.context.telemetry.record(Occurrence::Spilled);
            }
            if delivery.dropped {
                self.context.telemetry.record(Occurrence::EphemeralDropped);
            }
            delivery.needs_care || event.kind == EventKind::Kick
        })
        .await;
    }

    pub(super) async fn pass_over(&self, entry: &LogEntry) {
        self.each_session(|session| {
            session.with(|machine| machine.pass_over(&self.key, &entry.epoch, entry.offset)).1
        })
        .await;
    }

    /// Walks the followers as they are now; no lock is held over a session or an await. `visit` says whether the
    /// session needs care.
    pub(super) async fn each_session(&self, mut visit: impl FnMut(&Arc<LiveSession>) -> bool) {
        let followers = self.subscribers.lock().snapshot();
        let mut served = 0;
        for run in followers.runs() {
            for session in run.iter().flatten() {
                if visit(session) {
                    self.context.caretaker.attend(session);
                }
            }
            served += run.len();
            if served >= BROADCAST_SLICE_SESSIONS {
                served = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Typing and presence are the first to go when memory is short.
    fn sheds_ephemerals(&self, event: &Event) -> bool {
        let sheds = matches!(event.kind, EventKind::Typing { .. } | EventKind::Presence { .. })
            && self.context.pressure.as_ref().is_some_and(|known| known.stage() >= Stage::NoEphemerals);
        if sheds {
            self.context.telemetry.record(Occurrence::EphemeralDropped);
            self.context.telemetry.record(Occurrence::LimitHit(Limit::MemoryEphemerals));
        }
        sheds
    }
}
