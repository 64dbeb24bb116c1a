//! What an event that has arrived says about how far its receiver has come.

use super::subscriptions::Subscriptions;
use crate::domain::event::{Event, EventKind, LogPosition};
use crate::domain::ids::FeedKey;

/// Where its receiver stands in the log; `None` for what moves nobody.
pub(super) fn position_after(event: &Event) -> Option<LogPosition> {
    match (&event.logged, &event.kind) {
        (Some(logged), _) => Some(LogPosition { epoch: logged.epoch.clone(), offset: logged.offset }),
        (None, EventKind::Gap { after, .. }) => Some(after.clone()),
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
    position: Option<LogPosition>,
    seq: Option<u64>,
) {
    subscriptions.update(feed, |subscription| {
        if let Some(position) = position {
            subscription.delivered = position;
        }
        let known = subscription.delivered_message_seq;
        subscription.delivered_message_seq = seq.map_or(known, |seq| seq.max(known));
    });
}
