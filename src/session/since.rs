//! Following a feed anew, since the place that the client names, and when its word can't be taken.
//!
//! A client names its place by what it has read. A log that began anew meanwhile may have grown past that place: what
//! stands there now is something else. So a place counts only from whoever is known to have read the gap that tells of
//! the new beginning.

use super::machine::{Session, TooManySubscriptions};
use super::snapshot::SubscribeOptions;
use super::subscriptions::{CatchUpFrom, Confirmed, Flow, Subscription, nowhere};
use crate::domain::event::LogPosition;
use crate::domain::ids::FeedKey;

/// What a feed is followed since.
#[derive(Debug, Clone)]
pub struct Named {
    /// The place.
    pub position: LogPosition,
    /// `seq` of the last message up to there; 0 when none is known.
    pub last_message_seq: u64,
    /// What the client had surely read when it named the place: see [`Session::heard`]. `None` if the node has found the
    /// place in the log itself.
    pub heard: Option<u64>,
}

impl Session {
    /// The newest number that the client has surely read.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.acknowledged.number
    }

    /// Follows a feed since a named place. If it is followed already, what was queued for it before does not count; but
    /// what tells of a new beginning that the client may not have read stays, and the feed goes on from there.
    ///
    /// # Errors
    /// [`TooManySubscriptions`], as [`Session::subscribe`].
    pub fn follow_since(
        &mut self,
        feed: &FeedKey,
        options: SubscribeOptions,
        named: Named,
        confirmed: Confirmed,
    ) -> Result<(), TooManySubscriptions> {
        let Named { position, last_message_seq, heard } = named;
        let Some(known) = self.subscriptions.find(feed) else {
            return self.subscribe(feed, options, position, confirmed, last_message_seq);
        };
        // It may have gone back to an older cursor meanwhile.
        let heard = heard.map(|heard| heard.min(self.heard()));
        let unheard = known.beginning.clone().filter(|told| heard.is_some_and(|heard| heard < told.first));
        let (position, delivered) = match &unheard {
            // To be told yet, whatever the client has.
            _ if known.has_lost_place() => (nowhere(), nowhere()),
            Some(told) if told.first <= self.heard() => (told.place.clone(), told.place.clone()),
            // Until it is acknowledged, nothing of the new log is delivered.
            Some(told) => (told.place.clone(), known.delivered.clone()),
            None => (position.clone(), position),
        };
        let beginning = unheard.filter(|_| !known.has_lost_place());
        self.outbox.cut_but(feed, beginning.as_deref().map(|told| told.first..=told.last));
        self.full_at = None;
        self.ephemerals.cut(feed);
        let flow = Flow::behind(CatchUpFrom::Position, self.outbox.newest_watermark());
        let subscription = Subscription {
            position,
            delivered,
            last_message_seq,
            delivered_message_seq: last_message_seq,
            options,
            flow,
            round: self.next_round(),
            in_step: None,
            beginning,
            confirmed,
        };
        self.subscriptions.update(feed, |known| *known = subscription);
        Ok(())
    }
}
