//! What comes in: events that a feed pushes, and pieces of a log that were read again.

use std::sync::Arc;

use super::delivered::position_before;
use super::machine::{CatchUp, Session};
use super::outbox::Pushed;
use super::reader::{Attachment, Dismissal, Transport};
use super::subscriptions::{Beginning, CatchUpFrom, Flow};
use crate::domain::event::{Event, EventKind, LogEpoch, LogPosition, Logged, MembershipChange};
use crate::domain::ids::{DialogId, FeedKey};
use crate::domain::time::UnixMillis;

/// What came of an event that a feed pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intake {
    /// It was not for this session, or it had it already.
    Ignored,
    /// It waits for the reader.
    Queued,
    /// An older ephemeral event gave way to it, or it was dropped itself.
    Dropped,
    /// It will be read from the log: there was no room, or something before it is missing.
    Behind {
        /// The queue was full and has been given up down to what was sent.
        spilled: bool,
    },
    /// The user has left this dialog: the subscription has ended.
    Revoked(DialogId),
    /// The user has joined this dialog, at this bus time.
    Joined(DialogId, UnixMillis),
    /// The session has ended.
    Ended,
}

/// A piece of a log, with what can't be had told first.
#[derive(Debug, Clone)]
pub struct CaughtUp {
    /// What was asked for: a piece that answers an older question is ignored.
    pub asked: CatchUp,
    /// From here on `events` go on: behind the gap, if there is one.
    pub start: LogPosition,
    /// A `gap` event, and the messages that make up for it; all of them or none are queued.
    pub gap: Vec<Arc<Event>>,
    /// Consecutive logged events after `start`.
    pub events: Vec<Arc<Event>>,
    /// Where the piece ends: at its last entry, also if nobody could read that one.
    pub reached: LogPosition,
    /// Whether the log had nothing newer.
    pub complete: bool,
}

/// How far [`Session::apply`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// In step with the feed.
    Live,
    /// There is more to read now.
    More,
    /// There is more to read, when the reader has made room.
    Full,
    /// The piece answered an older question, or the subscription is gone.
    Outdated,
}

/// What a piece of a log has brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// How far it came.
    pub progress: Progress,
    /// Whether the piece's gap was told (also if the events after it found no room).
    pub gap_told: bool,
    /// Dialogs that the user has left: their subscriptions have ended.
    pub left: Vec<DialogId>,
    /// Dialogs that the user has joined, and when.
    pub joined: Vec<(DialogId, UnixMillis)>,
}

/// The queue is full, even without what was handed over already.
struct NoRoom {
    spilled: bool,
}

enum Order {
    Next,
    Known,
    Hole,
}

impl Session {
    /// Takes an event that a feed pushes. `settled` is the bus time up to which all links have surely delivered.
    pub fn push(&mut self, event: &Arc<Event>, settled: UnixMillis) -> Intake {
        if self.ended.is_some() {
            return Intake::Ignored;
        }
        let Some(logged) = &event.logged else { return self.push_ephemeral(event) };
        if self.push_next(event, logged, settled) {
            return Intake::Queued;
        }
        let Some(subscription) = self.subscriptions.find(&event.feed) else { return Intake::Ignored };
        let position = &subscription.position;
        let next = match &subscription.flow {
            Flow::Live => match order(position, logged) {
                // Perhaps a gap has passed over it: a revocation counts all the same.
                Order::Known => {
                    return self
                        .revocation(event)
                        .map_or(Intake::Ignored, |dialog| self.revoke(dialog, event));
                }
                Order::Next => true,
                Order::Hole => false,
            },
            // The feed may be just one step ahead: then the log need not be read.
            Flow::Behind(behind) => {
                behind.from == CatchUpFrom::Position
                    && behind
                        .seen
                        .as_ref()
                        .is_none_or(|seen| seen.epoch == logged.epoch && seen.offset < logged.offset)
                    && matches!(order(position, logged), Order::Next)
            }
        };
        let spilled = if next {
            match self.take_next(event, logged, settled) {
                Ok(intake) => {
                    let (epoch, number) = (self.epoch, self.outbox.last());
                    self.subscriptions
                        .update(&event.feed, |subscription| subscription.go_live(epoch, number));
                    return intake;
                }
                Err(NoRoom { spilled }) => spilled,
            }
        } else {
            false
        };
        self.fall_behind(&event.feed, logged);
        // A revocation can't wait for its turn in the log.
        match self.revocation(event) {
            Some(dialog) => self.revoke(dialog, event),
            None => Intake::Behind { spilled },
        }
    }

    /// Takes what most events are: the next one of a feed in step, which changes nobody's membership. False if it is
    /// anything else, or there is no room. The same as [`Session::take_next`] does, with one look at the subscription.
    fn push_next(&mut self, event: &Arc<Event>, logged: &Logged, settled: UnixMillis) -> bool {
        if matches!(event.kind, EventKind::Membership { .. }) {
            return false;
        }
        let watermark = self.watermark_at(logged.at.min(settled));
        let Some(subscription) = self.subscriptions.in_step_mut(&event.feed) else { return false };
        if !matches!(order(&subscription.position, logged), Order::Next)
            || self.outbox.push(event, watermark) == Pushed::Full
        {
            return false;
        }
        subscription.position.offset = logged.offset;
        subscription.go_live(self.epoch, self.outbox.last());
        if let EventKind::Message { sender, seq, .. } = &event.kind {
            subscription.last_message_seq = subscription.last_message_seq.max(*seq);
            self.ephemerals.end_typing(&event.feed, sender);
        }
        true
    }

    /// Takes a piece of a log that [`Session::catch_up`] asked for. `settled` is as in [`Session::push`]: what one log
    /// tells says nothing of the feeds whose events are still on their way.
    pub fn apply(&mut self, piece: CaughtUp, settled: UnixMillis) -> Applied {
        let mut applied =
            Applied { progress: Progress::Outdated, gap_told: false, left: Vec::new(), joined: Vec::new() };
        if self.ended.is_some() || self.catch_up(&piece.asked.feed).as_ref() != Some(&piece.asked) {
            return applied;
        }
        let feed = &piece.asked.feed;
        if !piece.gap.is_empty() && !self.outbox.make_room(&piece.gap) {
            self.revoke_in(&piece.events, &mut applied);
            self.full_at = Some(self.outbox.read());
            applied.progress = Progress::Full;
            return applied;
        }
        let (before, told) = (self.outbox.last(), piece.gap.len() as u64);
        // From now on by position: what lies before `start` is delivered or announced.
        self.subscriptions.update(feed, |subscription| {
            let asked = &subscription.position;
            if asked.epoch != piece.start.epoch || asked.offset > piece.start.offset {
                // A new beginning: an older cursor does not know of it.
                subscription.in_step = None;
                let place = piece.start.clone();
                subscription.beginning =
                    Some(Box::new(Beginning { first: before + 1, last: before + told, place }));
            }
            subscription.position = piece.start.clone();
            if let Flow::Behind(behind) = &mut subscription.flow {
                behind.from = CatchUpFrom::Position;
            }
        });
        for event in &piece.gap {
            self.note_message(event);
            let watermark = self.watermark_at(UnixMillis(0));
            self.outbox.push_over_limit(event.clone(), watermark);
            applied.gap_told = true;
        }
        for (index, event) in piece.events.iter().enumerate() {
            let Some(logged) = &event.logged else { continue };
            match self.take_next(event, logged, settled) {
                Ok(Intake::Revoked(dialog)) => {
                    applied.left.push(dialog);
                    if self.subscriptions.find(feed).is_none() {
                        return applied;
                    }
                }
                Ok(Intake::Joined(dialog, at)) => applied.joined.push((dialog, at)),
                Ok(_) => {}
                Err(NoRoom { .. }) => {
                    self.revoke_in(&piece.events[index..], &mut applied);
                    self.full_at = Some(self.outbox.read());
                    applied.progress = Progress::Full;
                    return applied;
                }
            }
        }
        applied.progress = self.reach(&piece);
        applied
    }

    /// A whole piece was taken.
    fn reach(&mut self, piece: &CaughtUp) -> Progress {
        let (epoch, number) = (self.epoch, self.outbox.last());
        let round = self.next_round();
        let live = self.subscriptions.update(&piece.asked.feed, |subscription| {
            subscription.position = piece.reached.clone();
            if !piece.complete {
                return false;
            }
            let Flow::Behind(behind) = &mut subscription.flow else { return true };
            // Taken, not kept: what was seen and is not in the log when it is read once more was rewound.
            let newer = behind.seen.take().is_some_and(|seen| {
                seen.epoch != subscription.position.epoch || seen.offset > subscription.position.offset
            });
            if newer {
                // Nor may another piece that was read before it was seen.
                subscription.round = round;
                return false;
            }
            subscription.go_live(epoch, number);
            true
        });
        match live {
            Some(true) => Progress::Live,
            Some(false) => Progress::More,
            None => Progress::Outdated,
        }
    }

    /// Events for which there is no room now will be told later; a revocation among them can't wait.
    fn revoke_in(&mut self, events: &[Arc<Event>], applied: &mut Applied) {
        for event in events {
            if let Some(dialog) = self.revocation(event)
                && let Intake::Revoked(dialog) = self.revoke(dialog, event)
            {
                applied.left.push(dialog);
            }
        }
    }

    /// Marks a followed feed as one that must read its log: the feed knows that something is missing. What was read
    /// before that is of no use any more.
    pub fn distrust(&mut self, feed: &FeedKey) {
        let round = self.next_round();
        self.subscriptions.update(feed, |subscription| subscription.round = round);
        self.begin_behind(feed);
    }

    fn begin_behind(&mut self, feed: &FeedKey) {
        let settled = self.outbox.newest_watermark();
        self.subscriptions.update(feed, |subscription| {
            if subscription.flow == Flow::Live {
                subscription.flow = Flow::behind(CatchUpFrom::Position, settled);
            }
        });
    }

    /// The feed's log is not the one that was followed so far, or lacks entries: it ends at `head`. Like
    /// [`Session::distrust`]; a position beyond the end is forgotten before the log grows past it. True if one was: the
    /// record must forget it, too.
    pub fn restart(&mut self, feed: &FeedKey, head: &LogPosition) -> bool {
        self.distrust(feed);
        let beyond = |position: &LogPosition| position.epoch == head.epoch && position.offset > head.offset;
        self.subscriptions.update_all(|followed, subscription| {
            if followed == feed || feed.dialog().is_none() {
                subscription.confirmed.rewind(feed, head);
            }
        });
        let forgotten = self.subscriptions.update(feed, |subscription| {
            // A revocation may have been obeyed at sight that the log can't tell any more.
            let obeyed = feed.dialog().is_none()
                && matches!(&subscription.flow, Flow::Behind(behind) if behind.seen.as_ref().is_some_and(beyond));
            let forgotten = beyond(&subscription.position) || beyond(&subscription.delivered) || obeyed;
            if forgotten {
                subscription.lose_place();
            }
            forgotten
        });
        forgotten.unwrap_or(false)
    }

    /// The feed's next entry was skipped: nobody could read it.
    pub fn pass_over(&mut self, feed: &FeedKey, epoch: &LogEpoch, offset: u64) {
        self.subscriptions.update(feed, |subscription| match &mut subscription.flow {
            Flow::Live
                if subscription.position.epoch == *epoch && subscription.position.offset + 1 == offset =>
            {
                subscription.position.offset = offset;
            }
            Flow::Behind(behind) => behind.seen = Some(LogPosition { epoch: epoch.clone(), offset }),
            Flow::Live => {}
        });
    }

    /// Takes the event that follows the subscription's position.
    fn take_next(
        &mut self,
        event: &Arc<Event>,
        logged: &Logged,
        settled: UnixMillis,
    ) -> Result<Intake, NoRoom> {
        let position = LogPosition { epoch: logged.epoch.clone(), offset: logged.offset };
        if self.is_told_elsewhere(event) {
            self.advance(event, position);
            return Ok(self.revocation(event).map_or(Intake::Ignored, |dialog| self.revoke(dialog, event)));
        }
        // The own hold moves first: the cursor of this event says that it is numbered.
        let held = self.move_hold(&event.feed, |settled| settled.max(logged.at));
        let watermark = self.watermark_at(logged.at.min(settled));
        if self.outbox.push(event, watermark) == Pushed::Full {
            let spilled = match held {
                Some(before) => {
                    self.move_hold(&event.feed, |_| before);
                    false
                }
                None => {
                    self.spill();
                    true
                }
            };
            return Err(NoRoom { spilled });
        }
        self.advance(event, position);
        match &event.kind {
            EventKind::Message { sender, .. } => self.ephemerals.end_typing(&event.feed, sender),
            EventKind::Membership { dialog, user, change } if *user == self.user_id => match change {
                MembershipChange::Removed => return Ok(self.revoke(dialog.clone(), event)),
                // In a dialog that is followed already it is but another role.
                MembershipChange::Added if self.follows(dialog) => {}
                MembershipChange::Added => return Ok(Intake::Joined(dialog.clone(), logged.at)),
            },
            _ => {}
        }
        Ok(Intake::Queued)
    }

    fn follows(&self, dialog: &DialogId) -> bool {
        self.subscriptions.find(&FeedKey::Dialog(dialog.clone())).is_some()
    }

    /// Moves up to when a feed that is behind has been numbered. Returns where that was; `None` if it is in step.
    fn move_hold(&mut self, feed: &FeedKey, to: impl FnOnce(UnixMillis) -> UnixMillis) -> Option<UnixMillis> {
        self.subscriptions.update(feed, |subscription| match &mut subscription.flow {
            Flow::Behind(behind) => {
                let before = behind.settled;
                behind.settled = to(before);
                Some(before)
            }
            Flow::Live => None,
        })?
    }

    fn advance(&mut self, event: &Event, position: LogPosition) {
        self.subscriptions.update(&event.feed, |subscription| subscription.position = position);
        self.note_message(event);
    }

    fn note_message(&mut self, event: &Event) {
        if let EventKind::Message { seq, .. } | EventKind::Restored { seq, .. } = event.kind {
            self.subscriptions.update(&event.feed, |subscription| {
                subscription.last_message_seq = subscription.last_message_seq.max(seq);
            });
        }
    }

    /// A user's own joining and leaving is told once, from the user's own feed.
    fn is_told_elsewhere(&self, event: &Event) -> bool {
        matches!(&event.kind, EventKind::Membership { user, .. }
            if *user == self.user_id && event.feed.dialog().is_some())
    }

    /// The dialog that an event throws this session's user out of.
    fn revocation(&self, event: &Event) -> Option<DialogId> {
        match &event.kind {
            EventKind::Membership { dialog, user, change: MembershipChange::Removed }
                if *user == self.user_id =>
            {
                Some(dialog.clone())
            }
            _ => None,
        }
    }

    fn revoke(&mut self, dialog: DialogId, removal: &Event) -> Intake {
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

    fn note_seen(&mut self, feed: &FeedKey, logged: &Logged) {
        self.subscriptions.update(feed, |subscription| {
            if let Flow::Behind(behind) = &mut subscription.flow {
                behind.seen = Some(LogPosition { epoch: logged.epoch.clone(), offset: logged.offset });
            }
        });
    }

    fn fall_behind(&mut self, feed: &FeedKey, logged: &Logged) {
        self.begin_behind(feed);
        self.note_seen(feed, logged);
    }

    /// Gives the unsent backlog up, down to each feed's position before it: it will be read from the logs again.
    fn spill(&mut self) {
        self.ephemerals.clear();
        let mut rewound: Vec<(FeedKey, LogPosition, Option<u64>)> = Vec::new();
        self.outbox.drop_unsent(|event| {
            // Newest first: the last word on each feed is its oldest event.
            let Some(before) = position_before(event) else { return };
            let seq = match event.kind {
                EventKind::Message { seq, .. } | EventKind::Restored { seq, .. } => {
                    Some(seq.saturating_sub(1))
                }
                // What the session had before the gap is not known any more, but for what was acknowledged.
                EventKind::Gap { .. } => Some(0),
                _ => None,
            };
            match rewound.iter_mut().find(|(feed, ..)| *feed == event.feed) {
                Some(known) => {
                    known.1 = before;
                    known.2 = seq.or(known.2);
                }
                None => rewound.push((event.feed.clone(), before, seq)),
            }
        });
        // What was numbered after this is not numbered any more, also of a feed that was behind before.
        let numbered = self.outbox.newest_watermark();
        let newest = (self.epoch, self.outbox.last());
        for (feed, position, seq) in rewound {
            self.begin_behind(&feed);
            self.subscriptions.update(&feed, |subscription| {
                if let Flow::Behind(behind) = &mut subscription.flow {
                    behind.settled = numbered.min(behind.settled);
                    behind.seen.get_or_insert_with(|| subscription.position.clone());
                    behind.from = CatchUpFrom::Position;
                }
                subscription.in_step.take_if(|in_step| (in_step.epoch, in_step.number) > newest);
                subscription.beginning.take_if(|told| told.first > newest.1);
                subscription.position = position;
                if let Some(seq) = seq {
                    subscription.last_message_seq = seq.max(subscription.delivered_message_seq);
                }
            });
        }
    }

    /// The watermark of an event numbered now: the bus has settled up to `at`, less what is still missing.
    fn watermark_at(&self, at: UnixMillis) -> UnixMillis {
        let reached = self.outbox.newest_watermark().max(at);
        self.subscriptions.held_back_to().map_or(reached, |held| reached.min(held))
    }

    /// Gives up what the reader was handed and has not acknowledged: should it come back for it, the logs have it.
    pub fn give_up_read(&mut self) {
        self.outbox.give_up_read();
    }

    /// Gives up what waits for the reader, too: it is read again from the logs. False if nothing waited.
    pub fn give_up_backlog(&mut self) -> bool {
        let waits = self.outbox.last() > self.outbox.sent();
        if waits {
            self.spill();
        }
        waits
    }

    fn push_ephemeral(&mut self, event: &Arc<Event>) -> Intake {
        if event.kind == EventKind::Kick {
            self.end(Dismissal::Kicked);
            return Intake::Ended;
        }
        let Some(subscription) = self.subscriptions.find(&event.feed) else { return Intake::Ignored };
        let (wanted, user) = match &event.kind {
            EventKind::Typing { user, .. } => (subscription.options.typing, user),
            EventKind::Presence { user, .. } => (subscription.options.presence, user),
            _ => return Intake::Ignored,
        };
        if !wanted || *user == self.user_id || !self.takes_ephemerals() {
            return Intake::Ignored;
        }
        if self.ephemerals.push(event.clone()) > 0 { Intake::Dropped } else { Intake::Queued }
    }

    /// Somebody reads, or polls and will be back in a moment.
    fn takes_ephemerals(&self) -> bool {
        match &self.attachment {
            Attachment::Attached(_) => true,
            Attachment::Detached { last, .. } => self.here && *last == Some(Transport::Poll),
        }
    }
}

fn order(position: &LogPosition, logged: &Logged) -> Order {
    if position.epoch != logged.epoch || logged.offset > position.offset + 1 {
        Order::Hole
    } else if logged.offset <= position.offset {
        Order::Known
    } else {
        Order::Next
    }
}
