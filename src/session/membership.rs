//! What events say of the session's own user: who leaves a dialog gets nothing more of it, at once.

use super::intake::Intake;
use super::machine::Session;
use crate::domain::event::{Event, EventKind, MembershipChange};
use crate::domain::ids::{DialogId, FeedKey};

impl Session {
    /// A user's own joining and leaving is told once, from the user's own feed.
    pub(super) fn is_told_elsewhere(&self, event: &Event) -> bool {
        matches!(&event.kind, EventKind::Membership { user, .. }
            if *user == self.user_id && event.feed.dialog().is_some())
    }

    /// The dialog that an event throws this session's user out of.
    pub(super) fn revocation(&self, event: &Event) -> Option<DialogId> {
        match &event.kind {
            EventKind::Membership { dialog, user, change: MembershipChange::Removed }
                if *user == self.user_id =>
            {
                Some(dialog.clone())
            }
            _ => None,
        }
    }

    pub(super) fn revoke(&mut self, dialog: DialogId, removal: &Event) -> Intake {
        if self.is_history(&dialog, removal) {
            return Intake::Queued;
        }
        match self.unsubscribe(&dialog) {
            Some(_) => Intake::Revoked(dialog),
            None => Intake::Queued,
        }
    }

    /// Whether the user was found to belong to the dialog after this removal.
    fn is_history(&self, dialog: &DialogId, removal: &Event) -> bool {
        let feed = FeedKey::Dialog(dialog.clone());
        self.subscriptions.find(&feed).is_some_and(|subscription| subscription.confirmed.covers(removal))
    }

    pub(super) fn follows(&self, dialog: &DialogId) -> bool {
        self.subscriptions.find(&FeedKey::Dialog(dialog.clone())).is_some()
    }
}
