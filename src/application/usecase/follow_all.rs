//! Following every dialog of the user: those that the Store lists, and those that are joined later.

use std::sync::Arc;

use super::presence::bus_refusal;
use super::subscribe::Terms;
use crate::application::catch_up::PIECE_EVENTS_MAX;
use crate::application::command::{DialogTarget, Since, Subscribed, store_refusal};
use crate::application::gateway::Gateway;
use crate::application::memberships::Checked;
use crate::application::ports::bus::{BusError, LogEntry, ReadFrom};
use crate::application::sessions::live::LiveSession;
use crate::domain::dialog::Membership;
use crate::domain::error::Refusal;
use crate::domain::event::{EventKind, LogPosition, MembershipChange};
use crate::domain::ids::{DialogId, FeedKey, UserId};
use crate::domain::time::UnixMillis;
use crate::session::machine::Session;
use crate::session::rebuild::REBUILD_MARGIN;
use crate::session::snapshot::SubscribeOptions;

/// Dialogs on one page of the Store's list.
const LIST_PAGE_DIALOGS: u32 = 200;
/// Most pages read from the Store's list.
const LIST_PAGES_MAX: usize = 100;

impl Gateway {
    /// Follows all dialogs that the Store lists.
    pub(in crate::application) async fn follow_every_dialog(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        options: SubscribeOptions,
    ) -> Result<Subscribed, Refusal> {
        let call = Self::call_for(session.user_id(), Some(session));
        let mut subscribed = Subscribed::default();
        let mut page_token = None;
        let asked_then = self.about_to_ask(session);
        for _ in 0..LIST_PAGES_MAX {
            let page = self
                .ports
                .store
                .list_dialogs(&call, LIST_PAGE_DIALOGS, page_token.as_deref())
                .await
                .map_err(store_refusal)?;
            // Whoever has joined since is in the list, too, and is not followed from now on, but from the joining.
            if !self.hear_of_moves(session).await {
                return Err(bus_refusal(BusError::Unavailable));
            }
            let listed = page.dialogs.into_iter().map(|summary| {
                let checked = Checked {
                    membership: Membership {
                        dialog_id: summary.dialog_id,
                        member: true,
                        can_read: true,
                        can_write: true,
                        role: summary.role,
                        version: 0,
                        last_message_seq: summary.last_message_seq,
                        read_seq: summary.read_seq,
                        member_count: 0,
                    },
                    stale: false,
                };
                let dialog_id = checked.membership.dialog_id.clone();
                (DialogTarget { dialog_id, since: None }, Ok(checked))
            });
            let listed = listed.collect();
            let terms = Terms::own(options);
            let page_subscribed = self.follow_told(session, listed, terms, asked_then.clone()).await;
            subscribed.dialogs.extend(page_subscribed.dialogs);
            subscribed.failed.extend(page_subscribed.failed);
            page_token = page.next_page_token;
            if page_token.is_none() {
                break;
            }
        }
        Ok(subscribed)
    }

    /// The user has joined a dialog, and the session follows all: nothing that was said since may be missed. False if it
    /// is to be tried again.
    pub(in crate::application) async fn follow_joined(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        dialog: &DialogId,
        at: UnixMillis,
    ) -> bool {
        let Some(options) = session.peek(Session::follow_all) else { return true };
        let Ok(position) = self.position_of_joining(session.user_id(), dialog, at).await else {
            return false;
        };
        if session.peek(|machine| follows_since(machine, dialog, &position)) {
            return true;
        }
        let target =
            DialogTarget { dialog_id: dialog.clone(), since: Some(Since { position, message_seq: None }) };
        match self.follow_named(session, vec![target], Terms::own(options)).await {
            Ok(subscribed) => subscribed.failed.iter().all(|failed| !failed.code.retryable()),
            Err(refusal) => !refusal.code.retryable(),
        }
    }

    /// Where the dialog's log tells of the joining; or where it stood at that time, if it doesn't (yet).
    async fn position_of_joining(
        &self,
        user: &UserId,
        dialog: &DialogId,
        at: UnixMillis,
    ) -> Result<LogPosition, BusError> {
        let feed = self.feeds.open(&FeedKey::Dialog(dialog.clone())).await?;
        let slice = feed.read(ReadFrom::Since(at.minus(REBUILD_MARGIN)), PIECE_EVENTS_MAX).await?;
        let tells_of_joining = |entry: &&LogEntry| {
            feed.decode(entry).is_some_and(|event| {
                let added = MembershipChange::Added;
                matches!(&event.kind, EventKind::Membership { user: whose, change, .. }
                    if whose == user && *change == added)
            })
        };
        let told = slice.entries.iter().rev().find(tells_of_joining).map(|entry| entry.offset);
        let later = slice.entries.iter().find(|entry| entry.at >= at).map(|entry| entry.offset - 1);
        let offset = told.or(later).unwrap_or(slice.head.offset);
        Ok(LogPosition { epoch: slice.head.epoch, offset })
    }
}

/// Whether a dialog is followed from this position on, or an earlier one.
fn follows_since(machine: &Session, dialog: &DialogId, position: &LogPosition) -> bool {
    machine.subscriptions().find(&FeedKey::Dialog(dialog.clone())).is_some_and(|subscription| {
        let began = &subscription.confirmed.feed;
        began.epoch == position.epoch && began.offset <= position.offset
    })
}
