//! Keeping a node in order: what comes up in sessions, what falls due, what nobody follows any more.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::feed::context::Caretaker;
use super::feed::registry::AUDIT_EVERY;
use super::gateway::Gateway;
use super::ports::presence::PRESENCE_TTL;
use super::ports::records::Saved;
use super::sessions::live::{Chore, LiveSession};
use crate::domain::ids::{DialogId, FeedKey, UserId};
use crate::session::reader::Dismissal;
use crate::session::snapshot::SessionSnapshot;

/// How often deadlines are looked at.
const TIMER_STEP: Duration = Duration::from_millis(250);
/// First wait before care that failed is tried again.
const CARE_BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before care that failed is tried again.
const CARE_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Records of a leaving node that are written at the same time.
const FAREWELL_SAVES_AT_ONCE_MAX: usize = 64;

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
}

impl Gateway {
    /// Runs until it is cancelled: deadlines, idle feeds, the audit, presence heartbeats.
    pub async fn keep_in_order(self: Arc<Self>, until: CancellationToken) {
        let mut step = tokio::time::interval(TIMER_STEP);
        step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut audited = self.ports.clock.tick();
        let mut heartbeat = audited;
        loop {
            tokio::select! {
                () = until.cancelled() => return,
                _ = step.tick() => {}
            }
            self.look_at_deadlines().await;
            self.feeds.sweep();
            let now = self.ports.clock.tick();
            if now.since(audited) >= AUDIT_EVERY {
                audited = now;
                if let Err(error) = self.feeds.audit().await {
                    tracing::debug!(%error, "audit of the feeds failed");
                }
            }
            if now.since(heartbeat) >= PRESENCE_TTL / 3 {
                heartbeat = now;
                self.keep_presence_alive().await;
            }
        }
    }

    /// Sees to it that somebody cares for a session, once.
    pub(super) fn attend(self: &Arc<Self>, session: &Arc<LiveSession>) {
        if !session.begin_care() {
            return;
        }
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks.spawn(async move { gateway.care_for(&session).await });
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
        let chores = session.take_chores();
        let changed = !chores.is_empty();
        for chore in chores {
            let kept = match &chore {
                Chore::Leave(dialog) => {
                    self.leave_dialog(session, dialog, None).await;
                    true
                }
                Chore::Follow(dialog, at) => self.follow_joined(session, dialog, *at).await,
                Chore::Recheck => self.recheck_memberships(session).await,
            };
            if !kept {
                session.add_chore(chore);
                done = false;
            }
        }
        if changed {
            self.save_record(session).await;
        }
        for due in session.peek(crate::session::machine::Session::due_catch_ups) {
            done &= self.catch_up(session, &due.feed).await.is_ok();
            if !session.peek(crate::session::machine::Session::wants_catch_up) {
                break;
            }
        }
        done
    }

    /// Asks the Store about every followed dialog: membership events may have been missed.
    async fn recheck_memberships(self: &Arc<Self>, session: &Arc<LiveSession>) -> bool {
        let followed: Vec<DialogId> = session.peek(|machine| {
            machine.subscriptions().iter().filter_map(|(feed, _)| feed.dialog().cloned()).collect()
        });
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
        let follow_all = session.peek(crate::session::machine::Session::follow_all);
        if let (true, Some(options)) = (all_told, follow_all) {
            return self.follow_every_dialog(session, options).await.is_ok();
        }
        all_told
    }

    async fn look_at_deadlines(self: &Arc<Self>) {
        let (now, unix) = (self.ports.clock.tick(), self.ports.clock.unix());
        for session in self.sessions.take_due(now) {
            let ((timed_out, snapshot), _) = session.with(|machine| {
                let timed_out = machine.handle_timeout(now, unix);
                let live = machine.ended().is_none();
                let snapshot = (live && (timed_out.gone || timed_out.expired)).then(|| machine.snapshot());
                if timed_out.expired {
                    // From here on an attach finds the record, not this.
                    machine.end(Dismissal::Expired);
                }
                (timed_out, snapshot)
            });
            if let Some(snapshot) = snapshot
                && !self.keep(&session, &snapshot).await
            {
                continue;
            }
            if timed_out.gone {
                self.say_gone(&session).await;
            }
            if timed_out.expired {
                self.bury(&session).await;
            } else {
                self.schedule(&session);
            }
        }
    }

    pub(super) fn schedule(&self, session: &Arc<LiveSession>) {
        let (now, unix) = (self.ports.clock.tick(), self.ports.clock.unix());
        let at = session.peek(|machine| machine.next_deadline(now, unix));
        self.sessions.schedule(session, at);
    }

    /// Takes a session that has ended out of everything.
    pub(super) async fn bury(self: &Arc<Self>, session: &Arc<LiveSession>) {
        self.sessions.remove(session);
        for membership in session.take_memberships() {
            self.feeds.leave(&membership, session);
        }
        let ended = session.peek(crate::session::machine::Session::ended);
        if ended == Some(Dismissal::Superseded) {
            // It goes on elsewhere: record and presence are that node's.
            return;
        }
        self.say_gone(session).await;
        if ended.is_some_and(|why| why != Dismissal::Expired)
            && let Err(error) = self.ports.records.remove(session.id(), session.user_id()).await
        {
            tracing::warn!(%error, "session record not removed");
        }
    }

    /// The node is going: every reader is sent away, to come back at some time within `spread`; every session is
    /// written down.
    pub async fn send_everybody_away(self: &Arc<Self>, spread: Duration) {
        let sessions = self.sessions.all();
        // All readers first: what each was handed by then is what its record must know of.
        for session in &sessions {
            let reconnect_after = spread.mul_f64(fastrand::f64());
            session.with(|machine| machine.dismiss(Dismissal::Draining { reconnect_after }));
        }
        stream::iter(sessions)
            .for_each_concurrent(FAREWELL_SAVES_AT_ONCE_MAX, |session| async move {
                self.save_record(&session).await;
            })
            .await;
    }

    /// Writes down what must outlive this node. False if the session has ended, or goes on at another node.
    pub(super) async fn save_record(self: &Arc<Self>, session: &Arc<LiveSession>) -> bool {
        let (snapshot, live) = session.peek(|machine| (machine.snapshot(), machine.ended().is_none()));
        live && self.keep(session, &snapshot).await
    }

    /// Saves a snapshot. False if the session goes on at another node: then it is over here.
    async fn keep(self: &Arc<Self>, session: &Arc<LiveSession>, snapshot: &SessionSnapshot) -> bool {
        match self.ports.records.save(snapshot).await {
            Ok(Saved::Written) => {}
            Ok(Saved::Superseded) => {
                self.supersede(session).await;
                return false;
            }
            Err(error) => tracing::warn!(%error, "session record not saved"),
        }
        true
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
        // It may have been followed anew meanwhile.
        let followed = |machine: &crate::session::machine::Session| {
            machine.subscriptions().find(&FeedKey::Dialog(dialog.clone())).is_some()
        };
        if session.peek(followed) {
            return;
        }
        if let Some(membership) = session.take_membership(&FeedKey::Dialog(dialog.clone())) {
            self.feeds.leave(&membership, session);
        }
        if left.is_none_or(|options| options.presence) {
            self.leave_presence(session, dialog).await;
        }
    }
}
