//! Who is there: several sessions of a user count as one, and a moment without a network does not count as leaving.

use std::sync::Arc;

use crate::application::command::store_refusal;
use crate::application::gateway::Gateway;
use crate::application::ports::bus::BusError;
use crate::application::ports::presence::{PresenceChange, PresenceEntry};
use crate::application::sessions::live::LiveSession;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::{DialogId, FeedKey};
use crate::domain::presence::{Presence, PresenceState};
use crate::session::machine::Session;

/// Most users that one answer lists.
const PRESENCE_LIST_MAX: usize = 500;

impl Gateway {
    /// To the `presence` command.
    pub(in crate::application) async fn presence_in(
        &self,
        session: &Arc<LiveSession>,
        dialog: &DialogId,
    ) -> Result<Vec<Presence>, Refusal> {
        let call = Self::call_for(session.user_id(), Some(session));
        let membership = self.memberships.of(&call, dialog).await.map_err(store_refusal)?;
        if !membership.readable() {
            return Err(Refusal::new(ErrorCode::NotMember, "you are not a member of the dialog"));
        }
        if membership.member_count > self.config.presence_max_members {
            return Ok(Vec::new());
        }
        self.list_presence(dialog).await.map_err(bus_refusal)
    }

    pub(super) async fn list_presence(&self, dialog: &DialogId) -> Result<Vec<Presence>, BusError> {
        self.ports.presence.list(dialog, self.ports.bus.time(), PRESENCE_LIST_MAX).await
    }

    /// The session is seen in a dialog from now on.
    pub(super) async fn enter_presence(&self, session: &Arc<LiveSession>, dialog: &DialogId) {
        let state = session.peek(Session::status);
        let entry = entry(session, dialog);
        let change = self.ports.presence.enter(&entry, state, self.ports.bus.time()).await;
        self.publish_presence(dialog, change).await;
    }

    /// The session is not seen in a dialog any more.
    pub(in crate::application) async fn leave_presence(&self, session: &Arc<LiveSession>, dialog: &DialogId) {
        let entry = entry(session, dialog);
        let change = self.ports.presence.leave(&entry, self.ports.bus.time()).await;
        self.publish_presence(dialog, change).await;
    }

    /// The session is here again, in every dialog in which it wants to be seen.
    pub(in crate::application) async fn say_here(&self, session: &Arc<LiveSession>) {
        for dialog in session.peek(seen_in) {
            self.enter_presence(session, &dialog).await;
        }
    }

    /// The session is gone from every dialog in which it was seen.
    pub(in crate::application) async fn say_gone(&self, session: &Arc<LiveSession>) {
        for dialog in session.peek(seen_in) {
            self.leave_presence(session, &dialog).await;
        }
    }

    pub(in crate::application) async fn set_status(&self, session: &Arc<LiveSession>, state: PresenceState) {
        session.with(|machine| machine.set_status(state));
        self.say_here(session).await;
    }

    /// Keeps the entries of all sessions that are here.
    pub(in crate::application) async fn keep_presence_alive(&self) {
        let mut entries = Vec::new();
        for session in self.sessions.all() {
            if session.peek(Session::is_here) {
                entries.extend(session.peek(seen_in).iter().map(|dialog| entry(&session, dialog)));
            }
        }
        if let Err(error) = self.ports.presence.heartbeat(&entries, self.ports.bus.time()).await {
            tracing::debug!(%error, "presence heartbeat failed");
        }
    }

    async fn publish_presence(&self, dialog: &DialogId, change: Result<PresenceChange, BusError>) {
        let published = match change {
            Ok(None) => return,
            Ok(Some(presence)) => {
                let event = self.ports.codec.presence(dialog, &presence);
                self.ports.bus.publish_ephemeral(&FeedKey::Dialog(dialog.clone()), event).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = published {
            // At most once is all that is promised; the entry's expiry puts it right.
            tracing::debug!(%error, "presence not published");
        }
    }
}

fn entry(session: &Arc<LiveSession>, dialog: &DialogId) -> PresenceEntry {
    PresenceEntry {
        dialog_id: dialog.clone(),
        user_id: session.user_id().clone(),
        session_id: session.id().clone(),
    }
}

/// The dialogs in which a session wants to be seen.
fn seen_in(machine: &Session) -> Vec<DialogId> {
    let seen = machine.subscriptions().iter().filter(|(_, subscription)| subscription.options.presence);
    seen.filter_map(|(feed, _)| feed.dialog().cloned()).collect()
}

/// A failure of the bus, as a client is told.
pub(super) fn bus_refusal(_: BusError) -> Refusal {
    Refusal::new(ErrorCode::Unavailable, "the event bus does not answer")
}
