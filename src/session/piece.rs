//! Pieces of a log that were read again: what a session takes of them, and how far it comes by them.

use std::sync::Arc;

use super::catch_up::CatchUp;
use super::intake::{Intake, NoRoom};
use super::machine::Session;
use super::subscriptions::{Beginning, CatchUpFrom, Flow};
use crate::domain::event::{Event, LogPosition};
use crate::domain::ids::DialogId;
use crate::domain::time::UnixMillis;

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

impl Session {
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
}
