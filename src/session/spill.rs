//! Giving up: what the logs can tell again leaves the queue when there is no room.

use super::delivered::position_before;
use super::machine::Session;
use super::subscriptions::{CatchUpFrom, Flow};
use crate::domain::event::{EventKind, LogPosition};
use crate::domain::ids::FeedKey;

impl Session {
    /// Gives the unsent backlog up, down to each feed's position before it: it will be read from the logs again.
    pub(super) fn spill(&mut self) {
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
}
