//! What a session follows, and how far it has come in each.

use std::time::Duration;

use super::feed_table::FeedTable;
use super::snapshot::SubscribeOptions;
use crate::domain::event::{Event, LogPosition};
use crate::domain::ids::{DialogId, FeedKey};
use crate::domain::time::UnixMillis;

/// How far the clocks of the bus's shards are apart at the most.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(5);
/// The epoch of no log.
pub const NOWHERE: &str = "";

/// A place in no log.
#[must_use]
pub fn nowhere() -> LogPosition {
    LogPosition { epoch: NOWHERE.into(), offset: 0 }
}

/// Whether a subscription takes what its feed pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// In step with the feed.
    Live,
    /// Something must be read from the log first. Boxed: most of the time there is nothing to be remembered.
    Behind(Box<Behind>),
}

/// What is remembered of a feed while its log must be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// From where.
    pub from: CatchUpFrom,
    /// Everything of this feed up to this bus time has been numbered: holds the session's watermark back.
    pub settled: UnixMillis,
    /// The newest position that the feed has pushed meanwhile.
    pub seen: Option<LogPosition>,
}

impl Flow {
    /// Something must be read; the feed has pushed nothing meanwhile.
    #[must_use]
    pub fn behind(from: CatchUpFrom, settled: UnixMillis) -> Self {
        Self::Behind(Box::new(Behind { from, settled, seen: None }))
    }
}

/// From where a subscription reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUpFrom {
    /// After its position.
    Position,
    /// After its position, and not older than a bus time: what is older was delivered, if it was ever numbered.
    Since {
        /// The bus time.
        at: UnixMillis,
        /// Nothing beyond this offset was ever numbered here, however old it is: a live event may have been lost and not
        /// missed yet. [`u64::MAX`] if that is not known.
        numbered: u64,
    },
}

/// "Whoever has this number has everything of the feed up to this position." Below it, a cursor's time says nothing
/// about the feed: it was not followed yet, or was still being brought in step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InStep {
    /// The session's generation of the number.
    pub epoch: u32,
    /// The newest number at that moment.
    pub number: u64,
    /// Where the feed stood.
    pub position: LogPosition,
}

/// What tells of a feed's newest new beginning: a gap, and the messages that make up for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// The number of the gap.
    pub first: u64,
    /// The number of the last message, or of the gap if there is none.
    pub last: u64,
    /// From here on the new log is told.
    pub place: LogPosition,
}

/// Up to where the logs are history for a membership: the Store has said later that the user belongs to the dialog. A
/// removal that is read (again) from there ends nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// In the followed feed.
    pub feed: LogPosition,
    /// In the user's own feed: where that stood before the Store was asked. `None` if the answer was an old one.
    pub own: Option<LogPosition>,
    /// The bus's time when the Store was asked: should the logs lose their ends, new entries get old offsets.
    pub at: UnixMillis,
}

impl Confirmed {
    /// A log ends at `head` now: beyond, nothing is history.
    pub fn rewind(&mut self, feed: &FeedKey, head: &LogPosition) {
        let known = if feed.dialog().is_some() { Some(&mut self.feed) } else { self.own.as_mut() };
        if let Some(known) = known.filter(|known| known.epoch == head.epoch) {
            known.offset = known.offset.min(head.offset);
        }
    }

    /// Whether the followed feed up to this place is history.
    #[must_use]
    pub fn reaches(&self, place: &LogPosition) -> bool {
        self.feed.epoch == place.epoch && self.feed.offset >= place.offset
    }

    /// Whether an event, of the followed feed or of the user's own, is history.
    #[must_use]
    pub fn covers(&self, event: &Event) -> bool {
        let known = if event.feed.dialog().is_some() { Some(&self.feed) } else { self.own.as_ref() };
        known.zip(event.logged.as_ref()).is_some_and(|(known, logged)| {
            known.epoch == logged.epoch
                && logged.offset <= known.offset
                && logged.at <= self.at.plus(CLOCKS_APART_MAX)
        })
    }
}

/// One followed feed.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The last event that was numbered (or from where on the subscription counts).
    pub position: LogPosition,
    /// The last event that was acknowledged.
    pub delivered: LogPosition,
    /// `seq` of the last message that was numbered; 0 when none is known.
    pub last_message_seq: u64,
    /// `seq` of the last message that was acknowledged.
    pub delivered_message_seq: u64,
    /// What it asks for.
    pub options: SubscribeOptions,
    /// Whether it is in step.
    pub flow: Flow,
    /// Tells a catch-up that was asked for before the feed was distrusted, rebuilt or followed anew from one after.
    pub round: u32,
    /// Since when it is in step, interruptions aside.
    pub in_step: Option<InStep>,
    /// The newest new beginning of its log that was told in this session. Boxed: logs seldom begin anew.
    pub beginning: Option<Box<Beginning>>,
    /// When the membership was last confirmed.
    pub confirmed: Confirmed,
}

impl Subscription {
    /// The feed goes on from here by what it pushes. `epoch` and `number` are the session's newest.
    pub fn go_live(&mut self, epoch: u32, number: u64) {
        self.flow = Flow::Live;
        if self.in_step.is_none() {
            self.in_step = Some(InStep { epoch, number, position: self.position.clone() });
        }
    }

    /// Beyond which place nothing was ever numbered; `None` if nobody knows.
    pub(super) fn numbered(&self) -> Option<LogPosition> {
        let from = match &self.flow {
            Flow::Live => CatchUpFrom::Position,
            Flow::Behind(behind) => behind.from,
        };
        let offset = match from {
            CatchUpFrom::Since { numbered: u64::MAX, .. } => return None,
            // It has not moved since an earlier rebuild.
            CatchUpFrom::Since { numbered, .. } => numbered,
            CatchUpFrom::Position => self.position.offset,
        };
        Some(LogPosition { epoch: self.position.epoch.clone(), offset })
    }

    /// Whether its log has lost the place that it had, and that is to be told yet.
    #[must_use]
    pub fn has_lost_place(&self) -> bool {
        &*self.position.epoch == NOWHERE
    }

    /// Whether its place in the log is known, and not only by the time of a cursor.
    pub(super) fn knows_its_place(&self) -> bool {
        !self.is_by_time() && !self.has_lost_place()
    }

    /// Whether the time of a cursor is to tell where it goes on.
    pub(super) fn is_by_time(&self) -> bool {
        matches!(&self.flow, Flow::Behind(behind) if matches!(behind.from, CatchUpFrom::Since { .. }))
    }

    /// No place in the log is known any more: whatever it has is told again, after a gap.
    pub fn lose_place(&mut self) {
        self.position = nowhere();
        self.delivered = nowhere();
        self.in_step = None;
    }
}

/// The followed feeds of a session, bounded by whoever inserts.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// Boxed: adding one moves others, and they are large.
    by_feed: FeedTable<Box<Subscription>>,
    behind: usize,
}

impl Subscriptions {
    /// How many feeds are followed, the user's own among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_feed.len()
    }

    /// Whether none is followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_feed.is_empty()
    }

    /// A followed feed.
    #[must_use]
    pub fn find(&self, feed: &FeedKey) -> Option<&Subscription> {
        self.by_feed.get(feed).map(Box::as_ref)
    }

    /// All of them, in the order of the feeds.
    pub fn iter(&self) -> impl Iterator<Item = (&FeedKey, &Subscription)> {
        self.by_feed.iter().map(|(feed, subscription)| (feed, &**subscription))
    }

    /// The followed feeds, in their order.
    #[must_use]
    pub fn feeds(&self) -> Vec<FeedKey> {
        self.by_feed.iter().map(|(feed, _)| feed.clone()).collect()
    }

    /// The followed dialogs, in their order.
    #[must_use]
    pub fn dialogs(&self) -> Vec<DialogId> {
        self.by_feed.iter().filter_map(|(feed, _)| feed.dialog()).cloned().collect()
    }

    /// How many are behind.
    #[must_use]
    pub fn behind(&self) -> usize {
        self.behind
    }

    /// Adds a subscription; one that is there already stays as it is.
    pub fn insert(&mut self, feed: FeedKey, subscription: Subscription) {
        if self.by_feed.get(&feed).is_none() {
            self.behind += usize::from(subscription.flow != Flow::Live);
            self.by_feed.insert(feed, Box::new(subscription));
        }
    }

    /// Ends one.
    pub fn remove(&mut self, feed: &FeedKey) -> Option<Subscription> {
        let removed = self.by_feed.remove(feed)?;
        self.behind -= usize::from(removed.flow != Flow::Live);
        Some(*removed)
    }

    /// One that is in step, to move it on. It must stay in step: how many are behind is counted.
    pub(super) fn in_step_mut(&mut self, feed: &FeedKey) -> Option<&mut Subscription> {
        self.by_feed.get_mut(feed).map(Box::as_mut).filter(|subscription| subscription.flow == Flow::Live)
    }

    /// Keeps this very key in place of an equal one: what many sessions follow is named once in memory.
    pub fn share_key(&mut self, feed: &FeedKey) {
        self.by_feed.share_key(feed);
    }

    /// Changes one.
    pub fn update<R>(&mut self, feed: &FeedKey, change: impl FnOnce(&mut Subscription) -> R) -> Option<R> {
        let subscription = self.by_feed.get_mut(feed)?;
        let was_behind = subscription.flow != Flow::Live;
        let result = change(subscription);
        let is_behind = subscription.flow != Flow::Live;
        self.behind = self.behind + usize::from(is_behind) - usize::from(was_behind);
        Some(result)
    }

    /// Changes all.
    pub fn update_all(&mut self, mut change: impl FnMut(&FeedKey, &mut Subscription)) {
        for (feed, subscription) in self.by_feed.iter_mut() {
            change(feed, subscription);
        }
        self.behind = self.by_feed.iter().filter(|(_, s)| s.flow != Flow::Live).count();
    }

    /// The lowest bus time up to which every feed that is behind has been numbered.
    #[must_use]
    pub fn held_back_to(&self) -> Option<UnixMillis> {
        if self.behind == 0 {
            return None;
        }
        self.by_feed
            .iter()
            .filter_map(|(_, subscription)| match subscription.flow {
                Flow::Behind(ref behind) => Some(behind.settled),
                Flow::Live => None,
            })
            .min()
    }
}
