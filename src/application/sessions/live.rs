//! One session on this node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::lanes::Lanes;
use super::told::Told;
use crate::application::allowance::Allowance;
use crate::application::feed::registry::Membership;
use crate::domain::event::{Event, LogPosition};
use crate::domain::ids::{DialogId, FeedKey, SessionId, UserId};
use crate::domain::time::{Tick, UnixMillis};
use crate::session::feed_table::FeedTable;
use crate::session::intake::Intake;
use crate::session::machine::Session;
use crate::session::reader::{
    AttachRefused, AttachRequest, Attached, DrainBudget, Drained, Outgoing, ReaderId,
};
use crate::session::snapshot::SessionSnapshot;

/// Something that has come up in a session and must be done outside its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chore {
    /// The user has left the dialog: leave its feed, too.
    Leave(DialogId),
    /// The user has joined the dialog at this bus time: follow it from there, since the session follows all.
    Follow(DialogId, UnixMillis),
    /// Membership events were missed: ask the Store about every dialog.
    Recheck,
    /// The record is not as it should be: write it.
    Keep,
}

/// A session, shared by the feeds that push into it and the transport that reads it.
pub struct LiveSession {
    id: SessionId,
    user_id: UserId,
    inner: Mutex<Inner>,
    /// Orders sends by dialog, and batches of commands.
    pub lanes: Arc<Lanes>,
    /// What it has used up of its rates.
    pub allowance: Allowance,
    /// How much of its life has been told.
    pub told: Mutex<Told>,
    cared_for: AtomicBool,
    verifying: AtomicBool,
    /// The tick at which the registry looks at the session; written under the registry's lock.
    alarm: AtomicU64,
}

struct Inner {
    machine: Session,
    /// The reader that waits in [`LiveSession::poll_drain`].
    waker: Option<Waker>,
    feeds: FeedTable<Membership>,
    chores: Vec<Chore>,
    /// It has ended and been taken out of everything.
    buried: bool,
}

impl Inner {
    fn needs_care(&self) -> bool {
        match self.machine.ended() {
            Some(_) => !self.buried,
            None => !self.chores.is_empty() || self.machine.wants_catch_up(),
        }
    }

    fn add_chore(&mut self, chore: Chore) {
        if !self.chores.contains(&chore) {
            self.chores.push(chore);
        }
    }

    fn take_waker(&mut self) -> Option<Waker> {
        if self.waker.is_some() && self.machine.has_output() { self.waker.take() } else { None }
    }
}

/// What a delivered event has brought about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Something must be done outside the lock.
    pub needs_care: bool,
    /// The backlog was given up.
    pub spilled: bool,
    /// An ephemeral event was dropped.
    pub dropped: bool,
}

impl LiveSession {
    /// Puts a session to work.
    #[must_use]
    pub fn new(machine: Session) -> Arc<Self> {
        Arc::new(Self {
            id: machine.id().clone(),
            user_id: machine.user_id().clone(),
            inner: Mutex::new(Inner {
                machine,
                waker: None,
                feeds: FeedTable::default(),
                chores: Vec::new(),
                buried: false,
            }),
            lanes: Arc::default(),
            allowance: Allowance::default(),
            told: Mutex::default(),
            cared_for: AtomicBool::new(false),
            verifying: AtomicBool::new(false),
            alarm: AtomicU64::new(u64::MAX),
        })
    }

    /// The session's name.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Whose it is.
    #[must_use]
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    pub(super) fn alarm(&self) -> Tick {
        Tick(self.alarm.load(Ordering::Relaxed))
    }

    pub(super) fn set_alarm(&self, at: Tick) {
        self.alarm.store(at.0, Ordering::Relaxed);
    }

    /// Looks at the state machine.
    pub fn peek<R>(&self, look: impl FnOnce(&Session) -> R) -> R {
        look(&self.inner.lock().machine)
    }

    /// Changes the state machine, then wakes the reader if it has something to fetch. Also says whether the session
    /// needs care now.
    pub fn with<R>(&self, change: impl FnOnce(&mut Session) -> R) -> (R, bool) {
        let (result, needs_care, waker) = {
            let mut inner = self.inner.lock();
            let result = change(&mut inner.machine);
            (result, inner.needs_care(), inner.take_waker())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        (result, needs_care)
    }

    /// What is to be saved of it, and whether it still lives.
    pub fn write_down(&self) -> (SessionSnapshot, bool) {
        let machine = &mut self.inner.lock().machine;
        (machine.next_snapshot(), machine.ended().is_none())
    }

    /// Makes the asker the one reader; the one that waits is woken to hear that it is not any more. Also says whether
    /// the session was here before.
    ///
    /// # Errors
    /// [`AttachRefused`]; session and live reader are unharmed.
    pub fn attach(
        &self,
        request: &AttachRequest,
        now_bus: UnixMillis,
    ) -> Result<(Attached, bool), AttachRefused> {
        let (attached, waker) = {
            let mut inner = self.inner.lock();
            let was_here = inner.machine.is_here();
            let attached = inner.machine.attach(request, now_bus)?;
            ((attached, was_here), inner.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(attached)
    }

    /// The feed's log is not the one that was followed so far: see [`Session::restart`]. Says whether the session needs
    /// care now.
    pub fn restart(&self, feed: &FeedKey, head: &LogPosition) -> bool {
        let mut inner = self.inner.lock();
        if inner.machine.restart(feed, head) {
            inner.add_chore(Chore::Keep);
        }
        inner.needs_care()
    }

    /// Takes an event from a feed.
    pub fn deliver(&self, event: &Arc<Event>, settled: UnixMillis) -> Delivery {
        let mut delivery = Delivery::default();
        let waker = {
            let mut inner = self.inner.lock();
            match inner.machine.push(event, settled) {
                Intake::Queued => {}
                Intake::Ignored => return delivery,
                Intake::Dropped => delivery.dropped = true,
                Intake::Behind { spilled } => delivery.spilled = spilled,
                Intake::Revoked(dialog) => inner.add_chore(Chore::Leave(dialog)),
                Intake::Joined(dialog, at) if inner.machine.follow_all().is_some() => {
                    inner.add_chore(Chore::Follow(dialog, at));
                }
                Intake::Joined(..) | Intake::Ended => {}
            }
            delivery.needs_care = inner.needs_care();
            inner.take_waker()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        delivery
    }

    /// Hands the reader what it does not have yet, or waits for it. A reader that was superseded is told so. After
    /// [`Drained::Empty`], too, the reader is woken when there is more: it need not ask again before that. Also says
    /// whether the session needs care now.
    pub fn poll_drain(
        &self,
        cx: &mut Context<'_>,
        reader: ReaderId,
        budget: DrainBudget,
        out: &mut Vec<Outgoing>,
    ) -> Poll<(Drained, bool)> {
        let mut inner = self.inner.lock();
        let readable = inner.machine.is_readable(reader);
        let drained = if readable { inner.machine.drain(reader, budget, out) } else { Drained::Empty };
        if drained == Drained::Empty {
            match &mut inner.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        if readable { Poll::Ready((drained, inner.needs_care())) } else { Poll::Pending }
    }

    /// Whether something must be done outside the lock.
    #[must_use]
    pub fn needs_care(&self) -> bool {
        self.inner.lock().needs_care()
    }

    /// Whether there are chores.
    #[must_use]
    pub fn has_chores(&self) -> bool {
        !self.inner.lock().chores.is_empty()
    }

    /// Takes the chores.
    #[must_use]
    pub fn take_chores(&self) -> Vec<Chore> {
        std::mem::take(&mut self.inner.lock().chores)
    }

    /// Adds a chore.
    pub fn add_chore(&self, chore: Chore) {
        self.inner.lock().add_chore(chore);
    }

    /// Becomes the one who cares; false if somebody does already.
    #[must_use]
    pub fn begin_care(&self) -> bool {
        !self.cared_for.swap(true, Ordering::AcqRel)
    }

    /// Stops caring. What came up meanwhile is seen by [`Self::needs_care`] afterwards.
    pub fn end_care(&self) {
        self.cared_for.store(false, Ordering::Release);
    }

    /// Becomes the one who sees whether the session is still this node's; false if somebody does already.
    #[must_use]
    pub fn begin_verifying(&self) -> bool {
        !self.verifying.swap(true, Ordering::AcqRel)
    }

    /// Somebody else may see again.
    pub fn end_verifying(&self) {
        self.verifying.store(false, Ordering::Release);
    }

    /// Becomes the one who takes an ended session out of everything; false if somebody does already.
    #[must_use]
    pub fn begin_burial(&self) -> bool {
        !std::mem::replace(&mut self.inner.lock().buried, true)
    }

    /// Notes the place in a feed. Gives back one that stood there before, and also this one if the session follows the
    /// feed no more.
    #[must_use]
    pub fn keep_membership(&self, membership: Membership) -> Option<Membership> {
        let key = membership.feed.key().clone();
        let mut inner = self.inner.lock();
        if inner.machine.ended().is_some() || inner.machine.subscriptions().find(&key).is_none() {
            return Some(membership);
        }
        inner.machine.share_key(&key);
        inner.feeds.insert(key, membership)
    }

    /// The place in a feed.
    #[must_use]
    pub fn membership(&self, feed: &FeedKey) -> Option<Membership> {
        self.inner.lock().feeds.get(feed).cloned()
    }

    /// Takes the place in a feed back, unless the session follows it.
    #[must_use]
    pub fn take_idle_membership(&self, feed: &FeedKey) -> Option<Membership> {
        let mut inner = self.inner.lock();
        if inner.machine.subscriptions().find(feed).is_some() { None } else { inner.feeds.remove(feed) }
    }

    /// Takes all places back: the session is going.
    #[must_use]
    pub fn take_memberships(&self) -> Vec<Membership> {
        self.inner.lock().feeds.take().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::feed::one::Feed;
    use crate::session::reader::Dismissal;
    use crate::session::subscriptions::Subscription;

    /// Each, with the counts of its `Arc` if it is in one, fills a size that allocators have: a word more costs many.
    #[test]
    fn what_a_session_is_made_of_is_small() {
        const COUNTS: usize = 2 * size_of::<usize>();
        assert!(size_of::<LiveSession>() + COUNTS <= 640, "{}", size_of::<LiveSession>());
        assert!(size_of::<Feed>() + COUNTS <= 192, "{}", size_of::<Feed>());
        assert!(size_of::<Subscription>() <= 192, "{}", size_of::<Subscription>());
    }

    #[test]
    fn a_session_that_has_ended_needs_care_until_it_is_buried_and_never_again() {
        let id = SessionId::parse("s").unwrap();
        let user = UserId::parse("ann").unwrap();
        let machine = Session::new(Arc::default(), id, user, None, 1, Tick(0), UnixMillis(0));
        let session = LiveSession::new(machine);
        assert!(!session.needs_care());
        assert!(session.with(|machine| machine.end(Dismissal::Kicked)).1);
        assert!(session.begin_burial());
        assert!(!session.begin_burial(), "once");
        assert!(!session.needs_care());
    }
}
