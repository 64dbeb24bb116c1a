//! What a session must read of the logs now, and in which order.

use super::machine::Session;
use super::reader::Attachment;
use super::subscriptions::{CatchUpFrom, Flow, Subscription};
use crate::domain::event::LogPosition;
use crate::domain::ids::FeedKey;

/// A subscription that must read its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatchUp {
    /// Whose log.
    pub feed: FeedKey,
    /// After this position.
    pub position: LogPosition,
    /// Whether time counts, too.
    pub from: CatchUpFrom,
    /// `seq` of the last message the session has; 0 when none is known.
    pub last_message_seq: u64,
    /// Changes when what was read before is of no use any more.
    pub round: u32,
}

impl Session {
    /// The subscriptions that must read their logs now: none while nobody reads, or while what is queued already is
    /// enough for the reader. The user's own comes first, since it tells where the user belongs; then the one that is
    /// furthest behind: a busy dialog keeps no other waiting.
    #[must_use]
    pub fn due_catch_ups(&self) -> Vec<CatchUp> {
        if !self.wants_catch_up() {
            return Vec::new();
        }
        let behind = self.subscriptions.iter().filter_map(|(feed, subscription)| match subscription.flow {
            Flow::Behind(ref behind) => Some((behind.settled, catch_up_of(feed, subscription)?)),
            Flow::Live => None,
        });
        let mut due: Vec<_> = behind.collect();
        due.sort_unstable_by(|(a_settled, a), (b_settled, b)| {
            let own_first = |catch_up: &CatchUp| catch_up.feed.dialog().is_some();
            (own_first(a), a_settled, &a.feed).cmp(&(own_first(b), b_settled, &b.feed))
        });
        due.into_iter().map(|(_, catch_up)| catch_up).collect()
    }

    /// Whether [`Self::due_catch_ups`] has any.
    #[must_use]
    pub fn wants_catch_up(&self) -> bool {
        let read = self.here || matches!(self.attachment, Attachment::Attached(_));
        self.subscriptions.behind() > 0
            && read
            && self.ended.is_none()
            && (self.full_at != Some(self.outbox.read()) || self.outbox.unread() == 0)
            && self.outbox.unread() <= self.config.outbox.events / 2
    }

    /// What one feed must read, whoever reads the session.
    #[must_use]
    pub fn catch_up(&self, feed: &FeedKey) -> Option<CatchUp> {
        catch_up_of(feed, self.subscriptions.find(feed)?)
    }
}

fn catch_up_of(feed: &FeedKey, subscription: &Subscription) -> Option<CatchUp> {
    let Flow::Behind(behind) = &subscription.flow else { return None };
    let from = behind.from;
    Some(CatchUp {
        feed: feed.clone(),
        position: subscription.position.clone(),
        from,
        last_message_seq: subscription.last_message_seq,
        round: subscription.round,
    })
}
