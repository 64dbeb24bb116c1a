//! Keeping a node in order: what comes up in sessions, what falls due, what nobody follows any more.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::feed::context::Caretaker;
use super::feed::registry::AUDIT_EVERY;
use super::gateway::Gateway;
use super::ports::presence::PRESENCE_TTL;
use super::ports::records::Saved;
use super::pressure::Stage;
use super::sessions::lanes::Lane;
use super::sessions::live::{Chore, LiveSession};
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::event::NodeWord;
use crate::domain::ids::{DialogId, FeedKey, UserId};
use crate::session::machine::Session;
use crate::session::reader::Dismissal;
use crate::session::snapshot::SessionSnapshot;

/// How often deadlines are looked at.
const TIMER_STEP: Duration = Duration::from_millis(250);
/// Sessions whose deadlines are looked at side by side.
const DEADLINES_AT_ONCE_MAX: usize = 64;
/// A session is looked at again after this long at the latest.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(60);
/// First wait before care that failed is tried again.
const CARE_BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before care that failed is tried again.
const CARE_BACKOFF_MAX: Duration = Duration::from_secs(5);

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
    /// Runs until it is cancelled: deadlines, idle feeds, the audit, presence heartbeats, who attached and
    /// detached.
    pub async fn keep_in_order(self: Arc<Self>, until: CancellationToken) {
        // Side by side: sessions that are lost by the thousand must not let the presence of the others run out.
        tokio::select! {
            () = until.cancelled() => {}
            () = self.watch_deadlines() => {}
            () = self.audit_feeds() => {}
            () = self.beat_for_presence() => {}
            () = self.write_lifecycle() => {}
            () = self.keep_roster() => {}
        }
    }

    async fn watch_deadlines(self: &Arc<Self>) {
        let mut step = steps(TIMER_STEP);
        loop {
            step.tick().await;
            self.look_at_deadlines().await;
            self.relieve();
            self.feeds.sweep();
        }
    }

    async fn audit_feeds(&self) {
        let mut step = steps(AUDIT_EVERY);
        loop {
            step.tick().await;
            if let Err(error) = self.feeds.audit().await {
                tracing::debug!(%error, "audit of the feeds failed");
            }
        }
    }

    async fn beat_for_presence(&self) {
        let mut step = steps(PRESENCE_TTL / 3);
        loop {
            step.tick().await;
            self.keep_presence_alive().await;
        }
    }

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
        let due = session.peek(Session::due_catch_ups);
        if !due.is_empty() && self.pressure.stage() >= Stage::Spill {
            // What was just given up must not come back at once.
            return false;
        }
        for due in due {
            done &= self.catch_up(session, &due.feed).await.is_ok();
            if !session.peek(Session::wants_catch_up) {
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

    async fn look_at_deadlines(self: &Arc<Self>) {
        let now = self.ports.clock.tick();
        let due = stream::iter(self.sessions.take_due(now));
        due.for_each_concurrent(DEADLINES_AT_ONCE_MAX, |session| async move {
            self.look_at_deadline(&session).await;
        })
        .await;
    }

    async fn look_at_deadline(self: &Arc<Self>, session: &Arc<LiveSession>) {
        let (now, unix) = (self.ports.clock.tick(), self.ports.clock.unix());
        let (timed_out, _) = session.with(|machine| machine.handle_timeout(now, unix));
        self.note_if_detached(session);
        if timed_out.gone || timed_out.expired {
            // Written down before it ends: whoever attaches from then on finds the record.
            if self.save_record(session).await == Recorded::Gone {
                return;
            }
        }
        if timed_out.gone && !session.peek(Session::is_here) {
            self.say_gone(session).await;
            // It may have come back meanwhile.
            if session.peek(Session::is_here) {
                self.say_here(session).await;
            }
        }
        let (expired, _) = session.with(|machine| {
            let expired = timed_out.expired && machine.handle_timeout(now, unix).expired;
            if expired {
                machine.end(Dismissal::Expired);
            }
            expired
        });
        if expired {
            self.bury(session).await;
        } else {
            self.schedule(session);
        }
    }

    pub(super) fn schedule(&self, session: &Arc<LiveSession>) {
        let (now, unix) = (self.ports.clock.tick(), self.ports.clock.unix());
        let at = session.peek(|machine| machine.next_deadline(now, unix));
        let at = self.detach_due(session).map_or(at, |due| at.min(due));
        // Never far ahead: the list of what is due stays about as long as that of the sessions.
        self.sessions.schedule(session, at.min(now.plus(LOOK_AGAIN_MAX)));
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

    async fn remove_record(&self, session: &Arc<LiveSession>) {
        if let Err(error) = self.ports.records.remove(session.id(), session.user_id()).await {
            tracing::warn!(%error, "session record not removed");
        }
    }

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
    async fn keep_at_last(self: &Arc<Self>, session: &Arc<LiveSession>) -> bool {
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

fn steps(every: Duration) -> Interval {
    let mut step = interval_at(Instant::now() + every, every);
    step.set_missed_tick_behavior(MissedTickBehavior::Delay);
    step
}

/// Whether a session that ended so is over everywhere: one that expired here or was superseded goes on.
fn ends_for_good(why: Dismissal) -> bool {
    !matches!(why, Dismissal::Expired | Dismissal::Superseded)
}
