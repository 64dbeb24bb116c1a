//! What an event that has arrived says about how far its receiver has come.

use super::subscriptions::{NOWHERE, Subscriptions, nowhere};
use crate::domain::event::{Event, EventKind, LogPosition};
use crate::domain::ids::FeedKey;

/// What tells a receiver where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Teller {
    /// An entry of the log: one step on.
    Entry,
    /// A gap: a new place.
    Gap,
}

/// Where its receiver stands in the log; `None` for what moves nobody.
pub(super) fn position_after(event: &Event) -> Option<(LogPosition, Teller)> {
    match (&event.logged, &event.kind) {
        (Some(logged), _) => {
            Some((LogPosition { epoch: logged.epoch.clone(), offset: logged.offset }, Teller::Entry))
        }
        // What lies before the gap's end counts as told, and the messages that make up for it are still to come: nowhere
        // in the log. Whoever goes on from here is told of the gap anew, whatever can be read of it there.
        (None, EventKind::Gap { after, .. }) => Some((after.clone().unwrap_or_else(nowhere), Teller::Gap)),
        (None, EventKind::Restored { after, .. }) => after.clone().map(|after| (after, Teller::Gap)),
        (None, _) => None,
    }
}

/// Where its receiver stands just before it; `None` for what moves nobody.
pub(super) fn position_before(event: &Event) -> Option<LogPosition> {
    match (&event.logged, &event.kind) {
        (Some(logged), _) => {
            Some(LogPosition { epoch: logged.epoch.clone(), offset: logged.offset.saturating_sub(1) })
        }
        (None, EventKind::Gap { before, .. }) => Some(before.clone()),
        (None, EventKind::Restored { .. }) => Some(nowhere()),
        (None, _) => None,
    }
}

/// The message that its receiver has; `None` for what is no message.
pub(super) fn message_seq(event: &Event) -> Option<u64> {
    match event.kind {
        EventKind::Message { seq, .. } | EventKind::Restored { seq, .. } => Some(seq),
        _ => None,
    }
}

/// Notes how far the client has surely come in a feed.
pub(super) fn note(
    subscriptions: &mut Subscriptions,
    feed: &FeedKey,
    position: Option<(LogPosition, Teller)>,
    seq: Option<u64>,
) {
    subscriptions.update(feed, |subscription| {
        // Nowhere: what was queued before the gap is of a log that is no more.
        if let Some((position, teller)) = position
            && (&*subscription.delivered.epoch != NOWHERE || teller == Teller::Gap)
        {
            subscription.delivered = position;
        }
        let known = subscription.delivered_message_seq;
        subscription.delivered_message_seq = seq.map_or(known, |seq| seq.max(known));
    });
}
