//! Doubt: something is missing in a feed, or its log is not what it was, and must be read.

use super::machine::Session;
use super::subscriptions::{CatchUpFrom, Flow};
use crate::domain::event::{LogEpoch, LogPosition};
use crate::domain::ids::FeedKey;

impl Session {
    /// Marks a followed feed as one that must read its log: the feed knows that something is missing. What was read
    /// before that is of no use any more.
    pub fn distrust(&mut self, feed: &FeedKey) {
        let round = self.next_round();
        self.subscriptions.update(feed, |subscription| subscription.round = round);
        self.begin_behind(feed);
    }

    pub(super) fn begin_behind(&mut self, feed: &FeedKey) {
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
}
