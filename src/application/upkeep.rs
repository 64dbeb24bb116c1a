//! Keeping a node in order: what falls due, what nobody follows any more, and what must be told again and again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::feed::registry::AUDIT_EVERY;
use super::gateway::Gateway;
use super::ports::presence::PRESENCE_TTL;
use super::recording::Recorded;
use super::sessions::live::LiveSession;
use crate::session::machine::Session;
use crate::session::reader::Dismissal;

/// How often deadlines are looked at.
const TIMER_STEP: Duration = Duration::from_millis(250);
/// Sessions whose deadlines are looked at side by side.
const DEADLINES_AT_ONCE_MAX: usize = 64;
/// A session is looked at again after this long at the latest.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(60);

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
}

fn steps(every: Duration) -> Interval {
    let mut step = interval_at(Instant::now() + every, every);
    step.set_missed_tick_behavior(MissedTickBehavior::Delay);
    step
}
