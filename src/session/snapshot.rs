//! What of a session is written down, so that another node (or a later day) can rebuild it from the logs: and how it is
//! taken, and made a session again.

use std::sync::Arc;

use super::cursor::Cursor;
use super::delivered::{Teller, message_seq, position_after, position_before};
use super::feed_table::FeedTable;
use super::machine::{Config, Session};
use super::subscriptions::{CatchUpFrom, Confirmed, Flow, InStep, NOWHERE, Subscription};
use crate::domain::event::{EventKind, LogPosition};
use crate::domain::ids::{DeviceId, FeedKey, SessionId, UserId};
use crate::domain::time::Tick;

/// What a subscription asks for beside the dialog's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// See others' presence and be seen.
    pub presence: bool,
    /// See who is typing.
    pub typing: bool,
}

/// A subscription as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSnapshot {
    /// The dialog's feed, or the user's own.
    pub feed: FeedKey,
    /// What the client has surely received: the position at the acknowledged cursor.
    pub delivered: LogPosition,
    /// Nothing of that log beyond this offset was numbered by [`SessionSnapshot::newest`]; `None` if nobody knows.
    pub numbered: Option<u64>,
    /// `seq` of the last message known to be delivered; 0 when none is known.
    pub last_message_seq: u64,
    /// What it asks for.
    pub options: SubscribeOptions,
    /// Since when it is in step; `None` while it was never.
    pub in_step: Option<InStep>,
    /// When the membership was last confirmed.
    pub confirmed: Confirmed,
}

/// An event that was handed out and not acknowledged yet: lets a rebuild know exactly what a newer cursor covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentSnapshot {
    /// Its number in the session.
    pub number: u64,
    /// Whose log it came from.
    pub feed: FeedKey,
    /// Where its receiver stands there, and whether an entry or a gap says so; `None` for what moves nobody.
    pub position: Option<(LogPosition, Teller)>,
    /// The message's place in the dialog, if it is one.
    pub message_seq: Option<u64>,
}

/// A session as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// The session.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// On which device.
    pub device_id: Option<DeviceId>,
    /// The generation the session began with: cursors of a lower one are not this session's.
    pub first_epoch: u32,
    /// The newest acknowledged cursor; its epoch is the session's current generation.
    pub acknowledged: Cursor,
    /// The newest number: of a later cursor the record knows nothing.
    pub newest: u64,
    /// Generation and number that the delivered positions belong to: a cursor below lacks some of it. Of an older
    /// generation than [`Self::acknowledged`] if nothing has been acknowledged since the session was rebuilt.
    pub delivered_as_of: (u32, u64),
    /// The highest `attach` the session has seen.
    pub highest_attach: Option<u64>,
    /// `Some` when the session follows every dialog of its user.
    pub follow_all: Option<SubscribeOptions>,
    /// The subscriptions, the user's own feed among them.
    pub subscriptions: Box<[SubscriptionSnapshot]>,
    /// Whether the delivered positions are exactly those of the acknowledged cursor: else the client may have more.
    pub delivered_exactly: bool,
    /// From this number on the delivered positions and what is in `sent` say exactly what a cursor covers; `None` if only the
    /// logs' times tell.
    pub exact_from: Option<u64>,
    /// Rises with every snapshot that is to be saved: of two saves on their way at once the later one counts.
    pub revision: u32,
    /// Generation and revision of the record that the session was rebuilt from; `None` if it has begun here.
    pub based_on: Option<(u32, u32)>,
    /// What was handed out after the acknowledged cursor, oldest first; at most what a queue holds. If some of it was given
    /// up, it begins with where that has led in each feed.
    pub sent: Box<[SentSnapshot]>,
}

impl SessionSnapshot {
    /// Forgets the other subscriptions.
    pub fn keep_subscriptions(&mut self, keep: impl FnMut(&SubscriptionSnapshot) -> bool) {
        let mut kept = std::mem::take(&mut self.subscriptions).into_vec();
        kept.retain(keep);
        self.subscriptions = kept.into();
    }
}

/// What the record says of a queue that was lost.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// See [`SessionSnapshot::exact_from`].
    pub(super) exact_from: Option<u64>,
    /// See [`SessionSnapshot::sent`].
    pub(super) sent: Box<[SentSnapshot]>,
}

impl Session {
    /// A session from its record: its first attach rebuilds it from the logs.
    #[must_use]
    pub fn from_snapshot(config: Arc<Config>, snapshot: SessionSnapshot, now: Tick) -> Self {
        let acknowledged = snapshot.acknowledged;
        let mut session = Self::new(
            config,
            snapshot.id,
            snapshot.user_id,
            snapshot.device_id,
            snapshot.first_epoch,
            now,
            acknowledged.watermark,
        );
        session.epoch = acknowledged.epoch;
        session.acknowledged = acknowledged;
        session.delivered_as_of = snapshot.delivered_as_of;
        session.delivered_exactly = snapshot.delivered_exactly;
        session.lost_queue = true;
        session.based_on = Some((acknowledged.epoch, snapshot.revision));
        session.recorded = snapshot.newest;
        session.inherited =
            Some(Box::new(Inherited { exact_from: snapshot.exact_from, sent: snapshot.sent }));
        session.highest_attach = snapshot.highest_attach;
        session.follow_all = snapshot.follow_all;
        let at = acknowledged.watermark;
        for saved in snapshot.subscriptions.into_vec() {
            let from = match saved.numbered {
                Some(numbered) => CatchUpFrom::Since { at, numbered },
                None => CatchUpFrom::Position,
            };
            let subscription = Subscription {
                position: saved.delivered.clone(),
                delivered: saved.delivered,
                last_message_seq: saved.last_message_seq,
                delivered_message_seq: saved.last_message_seq,
                options: saved.options,
                round: 0,
                in_step: saved.in_step,
                beginning: None,
                confirmed: saved.confirmed,
                flow: Flow::behind(from, acknowledged.watermark),
            };
            session.subscriptions.insert(saved.feed, subscription);
        }
        session
    }

    /// What must outlive this node, to be saved: later than what was to be saved before.
    pub fn next_snapshot(&mut self) -> SessionSnapshot {
        self.revision = self.revision.saturating_add(1);
        self.snapshot()
    }

    /// A snapshot is the record now.
    pub fn note_recorded(&mut self, snapshot: &SessionSnapshot) {
        self.unrecorded &= snapshot.acknowledged.epoch != self.epoch;
    }

    /// Whether the session has been rebuilt, and no record knows of that yet: elsewhere its cursors would be taken for
    /// forged ones.
    #[must_use]
    pub fn is_unrecorded(&self) -> bool {
        self.unrecorded
    }

    /// What must outlive this node.
    #[must_use]
    pub fn snapshot(&self) -> SessionSnapshot {
        let held = self.held();
        let all_acknowledged_held = self.outbox.floor() <= self.acknowledged.number;
        let subscriptions = self.subscriptions.iter().map(|(feed, subscription)| {
            let known = held.get(feed).filter(|_| all_acknowledged_held);
            let (delivered, seq) = known
                .map_or((&subscription.delivered, subscription.delivered_message_seq), |(before, seq)| {
                    (before, *seq)
                });
            let numbered = subscription.numbered().filter(|_| !self.lost_queue);
            SubscriptionSnapshot {
                feed: feed.clone(),
                delivered: delivered.clone(),
                numbered: numbered.filter(|place| place.epoch == delivered.epoch).map(|place| place.offset),
                last_message_seq: seq,
                options: subscription.options,
                // A number that was never sent may yet be given to something else.
                in_step: subscription.in_step.clone().filter(|in_step| in_step.number <= self.outbox.sent()),
                confirmed: subscription.confirmed.clone(),
            }
        });
        let subscriptions = subscriptions.collect();
        // Before anything of this generation was acknowledged it is that of the cursor from which it was rebuilt.
        let of_this_generation = self.delivered_as_of.0 == self.epoch;
        let delivered_as_of = if of_this_generation && all_acknowledged_held && !self.lost_queue {
            (self.epoch, self.acknowledged.number)
        } else {
            self.delivered_as_of
        };
        let by_time = self.subscriptions.iter().any(|(_, subscription)| subscription.is_by_time());
        let exact_from = if self.lost_queue || by_time {
            self.inherited.as_ref().and_then(|inherited| inherited.exact_from)
        } else {
            Some(self.outbox.floor().max(self.acknowledged.number))
        };
        SessionSnapshot {
            id: self.id.clone(),
            user_id: self.user_id.clone(),
            device_id: self.device_id.clone(),
            first_epoch: self.first_epoch,
            acknowledged: self.acknowledged,
            highest_attach: self.highest_attach,
            follow_all: self.follow_all,
            newest: self.outbox.last(),
            delivered_as_of,
            subscriptions,
            delivered_exactly: self.delivered_exactly,
            exact_from,
            revision: self.revision,
            based_on: self.based_on,
            sent: self.sent_unacknowledged(&held),
        }
    }

    /// Where the receiver of each feed stands who has acknowledged everything that is not held any more: before the first of
    /// what is held, or has everything that was numbered; and the newest message that is surely had. Nothing of feeds whose
    /// places are not known.
    fn held(&self) -> FeedTable<(LogPosition, u64)> {
        let mut places = FeedTable::default();
        if self.lost_queue {
            return places;
        }
        let from = self.outbox.floor().max(self.acknowledged.number);
        for event in self.outbox.after(from).filter_map(|entry| entry.event.as_ref()) {
            let Some(before) = position_before(event) else { continue };
            // What was queued before such a gap is of a log that is no more.
            let begins_anew = matches!(event.kind, EventKind::Gap { .. }) && &*before.epoch == NOWHERE;
            if (begins_anew || places.get(&event.feed).is_none())
                && let Some(subscription) = self.subscriptions.find(&event.feed)
            {
                places.insert(event.feed.clone(), (before, subscription.delivered_message_seq));
            }
        }
        for (feed, subscription) in self.subscriptions.iter() {
            if !subscription.knows_its_place() {
                places.remove(feed);
            } else if places.get(feed).is_none() {
                places.insert(feed.clone(), (subscription.position.clone(), subscription.last_message_seq));
            }
        }
        places
    }

    fn sent_unacknowledged(&self, held: &FeedTable<(LogPosition, u64)>) -> Box<[SentSnapshot]> {
        if self.lost_queue {
            return self.inherited.as_ref().map_or_else(Box::default, |inherited| inherited.sent.clone());
        }
        let floor = self.outbox.floor();
        let mut sent = Vec::new();
        if floor > self.acknowledged.number {
            // What was given up is not told one by one, but by where it has led.
            sent.extend(held.iter().map(|(feed, (place, seq))| SentSnapshot {
                number: floor,
                feed: feed.clone(),
                position: Some((place.clone(), Teller::Gap)),
                message_seq: Some(*seq).filter(|seq| *seq > 0),
            }));
        }
        let held = self.outbox.after(self.acknowledged.number);
        let handed_out = held.take_while(|entry| entry.number <= self.outbox.sent());
        sent.extend(handed_out.filter_map(|entry| {
            let event = entry.event.as_ref()?;
            let (position, message_seq) = (position_after(event), message_seq(event));
            Some(SentSnapshot { number: entry.number, feed: event.feed.clone(), position, message_seq })
        }));
        sent.into()
    }
}
