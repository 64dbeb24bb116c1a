//! The rebuild: a queue that is gone is forgotten, and everything after a cursor is read from the logs again.

use std::time::Duration;

use super::cursor::Cursor;
use super::delivered::note;
use super::machine::Session;
use super::outbox::Outbox;
use super::snapshot::Inherited;
use super::subscriptions::{CLOCKS_APART_MAX, CatchUpFrom, Flow};
use crate::domain::event::LogPosition;

/// How much further back than a cursor's watermark a rebuild reads: the clocks of the bus's shards differ.
pub const REBUILD_MARGIN: Duration = CLOCKS_APART_MAX;

impl Session {
    /// Forgets the queue: everything after the cursor is read from the logs again, under a new generation.
    pub(super) fn rebuild_from(&mut self, cursor: Cursor) {
        let asked = (cursor.epoch, cursor.number);
        // The client goes back behind what it has acknowledged: then what was delivered says nothing.
        let regressed = asked < self.delivered_as_of;
        let inherited = self.inherited.take().map_or_else(Inherited::default, |inherited| *inherited);
        let exact = !regressed && self.note_delivered_up_to(cursor, inherited);
        self.delivered_exactly = exact;
        // Also what the logs' times will say.
        self.delivered_as_of = asked;
        let goes_on = cursor.epoch == self.epoch;
        let recorded = goes_on && cursor.number <= self.recorded;
        self.epoch = self.epoch.wrapping_add(1).max(1);
        // What another node has numbered since the record was written, nobody knows.
        let numbered_known = !std::mem::take(&mut self.lost_queue) || recorded;
        self.unrecorded = true;
        self.full_at = None;
        self.outbox =
            Outbox::new(self.config.outbox, cursor.number, cursor.watermark).counted_by(&self.config.ledger);
        self.acknowledged = Cursor { epoch: self.epoch, ..cursor };
        self.ephemerals.clear();
        let at = cursor.watermark.minus(REBUILD_MARGIN);
        let round = self.next_round();
        self.subscriptions.update_all(|_, subscription| {
            subscription.round = round;
            subscription.in_step.take_if(|in_step| asked < (in_step.epoch, in_step.number));
            subscription.beginning.take_if(|told| !goes_on || cursor.number < told.first);
            if regressed {
                match &subscription.in_step {
                    Some(in_step) => subscription.delivered = in_step.position.clone(),
                    None => subscription.lose_place(),
                }
                subscription.delivered_message_seq = 0;
            }
            let numbered = subscription.numbered().filter(|_| numbered_known);
            let since = |position: &LogPosition| {
                let same_log = numbered.as_ref().filter(|numbered| numbered.epoch == position.epoch);
                CatchUpFrom::Since { at, numbered: same_log.map_or(u64::MAX, |numbered| numbered.offset) }
            };
            let (position, from) = match &subscription.in_step {
                _ if exact => (&subscription.delivered, CatchUpFrom::Position),
                Some(in_step) if is_later(&in_step.position, &subscription.delivered) => {
                    (&in_step.position, since(&in_step.position))
                }
                Some(_) => (&subscription.delivered, since(&subscription.delivered)),
                // The cursor's time does not speak of this feed.
                None => (&subscription.delivered, CatchUpFrom::Position),
            };
            subscription.position = position.clone();
            subscription.last_message_seq = subscription.delivered_message_seq;
            subscription.flow = Flow::behind(from, cursor.watermark);
        });
    }

    /// Notes what a cursor that the record knows of covers. True if the delivered positions are those of the cursor.
    fn note_delivered_up_to(&mut self, cursor: Cursor, inherited: Inherited) -> bool {
        let Inherited { exact_from, sent } = inherited;
        if cursor.epoch != self.epoch {
            return false;
        }
        let known_up_to = sent.last().map_or(self.acknowledged.number, |last| last.number);
        for known in sent.into_vec().into_iter().take_while(|known| known.number <= cursor.number) {
            note(&mut self.subscriptions, &known.feed, known.position, known.message_seq);
        }
        (self.delivered_exactly && cursor.number <= self.acknowledged.number)
            || exact_from.is_some_and(|from| (from..=known_up_to).contains(&cursor.number))
    }
}

/// Whether a place where the feed was in step is later than one that was delivered. In another epoch it is: a feed that
/// gets a new log is not in step until that has been told.
fn is_later(in_step: &LogPosition, delivered: &LogPosition) -> bool {
    in_step.epoch != delivered.epoch || in_step.offset > delivered.offset
}
