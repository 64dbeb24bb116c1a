//! What comes in: events that a feed pushes, numbered one by one.

use std::sync::Arc;

use super::machine::Session;
use super::outbox::Pushed;
use super::reader::{Attachment, Dismissal, Transport};
use super::subscriptions::{CatchUpFrom, Flow};
use crate::domain::event::{Event, EventKind, LogPosition, Logged, MembershipChange};
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

/// The queue is full, even without what was handed over already.
pub(super) struct NoRoom {
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

    /// Takes the event that follows the subscription's position.
    pub(super) fn take_next(
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

    pub(super) fn note_message(&mut self, event: &Event) {
        if let EventKind::Message { seq, .. } | EventKind::Restored { seq, .. } = event.kind {
            self.subscriptions.update(&event.feed, |subscription| {
                subscription.last_message_seq = subscription.last_message_seq.max(seq);
            });
        }
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

    /// The watermark of an event numbered now: the bus has settled up to `at`, less what is still missing.
    pub(super) fn watermark_at(&self, at: UnixMillis) -> UnixMillis {
        let reached = self.outbox.newest_watermark().max(at);
        self.subscriptions.held_back_to().map_or(reached, |held| reached.min(held))
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
