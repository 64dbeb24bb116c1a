//! Caring for a session: what comes up in it, and taking it out of everything when it has ended.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;

use super::feed::context::Caretaker;
use super::gateway::Gateway;
use super::pressure::Stage;
use super::recording::{Recorded, ends_for_good};
use super::sessions::lanes::Lane;
use super::sessions::live::{Chore, LiveSession};
use crate::domain::event::NodeWord;
use crate::domain::ids::{DialogId, FeedKey, UserId};
use crate::session::machine::Session;

/// First wait before care that failed is tried again.
const CARE_BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before care that failed is tried again.
const CARE_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Calls the node when a session needs it.
pub struct Care {
    gateway: Weak<Gateway>,
}

impl Care {
    /// On behalf of a node that is being put together.
    #[must_use]
    pub fn new(gateway: Weak<Gateway>) -> Self {
        Self { gateway }
    }
}

impl Caretaker for Care {
    fn attend(&self, session: &Arc<LiveSession>) {
        if let Some(gateway) = self.gateway.upgrade() {
            gateway.attend(session);
        }
    }

    fn membership_changed(&self, user: &UserId, dialog: &DialogId) {
        if let Some(gateway) = self.gateway.upgrade() {
            gateway.memberships.forget(user, dialog);
        }
    }

    fn words_missed(&self, session: &Arc<LiveSession>) {
        if let Some(gateway) = self.gateway.upgrade() {
            gateway.verify_owner(session);
        }
    }

    fn node_said(&self, feed: &FeedKey, word: &NodeWord) {
        if let (Some(gateway), FeedKey::User(user)) = (self.gateway.upgrade(), feed) {
            gateway.hear(user, word);
        }
    }
}

impl Gateway {
    /// Sees to it that somebody cares for a session, once.
    pub(super) fn attend(self: &Arc<Self>, session: &Arc<LiveSession>) {
        if !session.begin_care() {
            return;
        }
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks.spawn(async move {
            if AssertUnwindSafe(gateway.care_for(&session)).catch_unwind().await.is_err() {
                gateway.care_anew(&session).await;
            }
        });
    }

    /// A session whose care has panicked is cared for again: else it would never be buried, nor read a log.
    async fn care_anew(self: &Arc<Self>, session: &Arc<LiveSession>) {
        tracing::error!(session = %session.id(), "the care for a session panicked: it is tried again");
        tokio::time::sleep(CARE_BACKOFF_MAX).await;
        // Whatever was to be done of joining and leaving, this finds out.
        session.add_chore(Chore::Recheck);
        session.end_care();
        self.attend(session);
    }

    async fn care_for(self: &Arc<Self>, session: &Arc<LiveSession>) {
        let mut wait = CARE_BACKOFF_FIRST;
        loop {
            let done = self.care_once(session).await;
            if !done {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(CARE_BACKOFF_MAX);
                continue;
            }
            session.end_care();
            if !session.needs_care() || !session.begin_care() {
                return;
            }
            // A session that needs care again and again must not keep others from running.
            tokio::task::yield_now().await;
        }
    }

    /// Does what is to be done. False if something failed and is still to be done.
    async fn care_once(self: &Arc<Self>, session: &Arc<LiveSession>) -> bool {
        if session.peek(|machine| machine.ended().is_some()) {
            self.bury(session).await;
            return true;
        }
        let mut done = true;
        // In turn with the client's own commands: two who follow a dialog at once begin at two places.
        let mut turn = session.has_chores().then(|| session.lanes.enter(Lane::Session));
        if let Some(turn) = turn.as_mut() {
            turn.wait().await;
        }
        let mut chores = session.take_chores();
        // What the user has joined is followed from there; the Store's list does not tell from where.
        chores.sort_by_key(|chore| *chore == Chore::Recheck);
        keep_last_joining(&mut chores);
        let changed = chores.iter().any(|chore| *chore != Chore::Keep);
        for chore in chores {
            let kept = match &chore {
                Chore::Leave(dialog) => {
                    self.leave_dialog(session, dialog, None).await;
                    true
                }
                Chore::Follow(dialog, at) => self.follow_joined(session, dialog, *at).await,
                Chore::Recheck => self.recheck_memberships(session).await,
                // Before anything is read: what the record knows of a log that is no more must not outlive it.
                Chore::Keep => self.keep_at_last(session).await,
            };
            if !kept {
                session.add_chore(chore);
                done = false;
            }
        }
        if changed && self.save_record(session).await == Recorded::NotWritten {
            done = false;
        }
        drop(turn);
        let (generation, due) = session.peek(|machine| (machine.epoch(), machine.due_catch_ups()));
        if !due.is_empty() && self.pressure.stage() >= Stage::Spill {
            // What was just given up must not come back at once.
            return false;
        }
        for due in due {
            done &= self.catch_up(session, &due.feed).await.is_ok();
            // Rebuilt meanwhile, it needs them in their order again.
            if !session.peek(|machine| machine.wants_catch_up() && machine.epoch() == generation) {
                break;
            }
        }
        done
    }

    /// Reads the user's own feed first: what it tells of joining says from where a dialog is followed, and the Store's list
    /// does not. False if that is not known yet.
    pub(super) async fn hear_of_moves(self: &Arc<Self>, session: &Arc<LiveSession>) -> bool {
        let own = FeedKey::User(session.user_id().clone());
        if !self.catch_up(session, &own).await.is_ok_and(|report| report.live) {
            return false;
        }
        let mut chores = session.take_chores();
        keep_last_joining(&mut chores);
        let (moves, others): (Vec<Chore>, Vec<Chore>) =
            chores.into_iter().partition(|chore| matches!(chore, Chore::Follow(..)));
        others.into_iter().for_each(|chore| session.add_chore(chore));
        let mut all_kept = true;
        for chore in moves {
            if let Chore::Follow(dialog, at) = &chore
                && !self.follow_joined(session, dialog, *at).await
            {
                session.add_chore(chore);
                all_kept = false;
            }
        }
        all_kept
    }

    /// Asks the Store about every followed dialog: membership events may have been missed.
    async fn recheck_memberships(self: &Arc<Self>, session: &Arc<LiveSession>) -> bool {
        let followed = session.peek(|machine| machine.subscriptions().dialogs());
        let call = Self::call_for(session.user_id(), Some(session));
        let answers = self.memberships.ask(&call, &followed).await;
        let mut all_told = true;
        for (dialog, answer) in followed.iter().zip(answers) {
            match answer {
                Ok(checked) if checked.stale => all_told = false,
                Ok(checked) if !checked.membership.readable() => {
                    let (left, _) = session.with(|machine| machine.unsubscribe(dialog));
                    self.leave_dialog(session, dialog, left).await;
                }
                Ok(_) => {}
                Err(_) => all_told = false,
            }
        }
        let follow_all = session.peek(Session::follow_all);
        if let (true, Some(options)) = (all_told, follow_all) {
            let followed = self.follow_every_dialog(session, options).await;
            return followed
                .is_ok_and(|followed| followed.failed.iter().all(|failed| !failed.code.retryable()));
        }
        all_told
    }

    /// Takes a session that has ended out of everything, once.
    pub(super) async fn bury(self: &Arc<Self>, session: &Arc<LiveSession>) {
        if !session.begin_burial() {
            return;
        }
        // One that goes on elsewhere, or may be here again under the same name, leaves its record and its presence.
        let for_good = session.peek(Session::ended).is_some_and(ends_for_good);
        if for_good {
            self.remove_record(session).await;
        }
        self.sessions.remove(session);
        self.note_over(session);
        for membership in session.take_memberships() {
            self.feeds.leave(&membership, session);
        }
        if for_good {
            self.say_gone(session).await;
        }
    }

    /// The session goes on at another node: this copy of it ends, and nothing else does.
    pub(super) async fn supersede(self: &Arc<Self>, session: &Arc<LiveSession>) {
        session.with(|machine| machine.supersede());
        self.bury(session).await;
    }

    /// Takes the feed of a dialog that the session follows no more, and the presence in it, back.
    pub(super) async fn leave_dialog(
        &self,
        session: &Arc<LiveSession>,
        dialog: &DialogId,
        left: Option<crate::session::snapshot::SubscribeOptions>,
    ) {
        let feed = FeedKey::Dialog(dialog.clone());
        if let Some(membership) = session.take_idle_membership(&feed) {
            self.feeds.leave(&membership, session);
        }
        // It may have been followed anew meanwhile.
        if session.peek(|machine| machine.subscriptions().find(&feed).is_some()) {
            return;
        }
        if left.is_none_or(|options| options.presence) {
            self.leave_presence(session, dialog).await;
        }
    }
}

/// Of several joinings of one dialog only the last one counts: to follow it once for each would tell it again.
fn keep_last_joining(chores: &mut Vec<Chore>) {
    let all = std::mem::take(chores);
    for (index, chore) in all.iter().enumerate() {
        let again = matches!(chore, Chore::Follow(dialog, _)
            if all[index + 1..].iter().any(|later| matches!(later, Chore::Follow(other, _) if other == dialog)));
        if !again {
            chores.push(chore.clone());
        }
    }
}
