//! What waits between the link and a feed.

use std::collections::VecDeque;

use crate::application::ports::bus::LivePayload;

/// Most payloads that wait between the link and a feed; more are dropped, and read from the log.
pub const INBOX_PAYLOADS_MAX: usize = 1024;
/// Most bytes of what waits there; a single larger payload still does.
pub const INBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Payloads a feed works off before it looks at its inbox again.
const BATCH_PAYLOADS: usize = 64;

/// The payloads that wait, oldest first. Whoever adds one looks at [`Inbox::is_full`] before. It takes no room while it
/// is empty: a node has a feed for every user, and most are silent.
#[derive(Default)]
pub(super) struct Inbox(Option<Box<Waiting>>);

#[derive(Default)]
struct Waiting {
    payloads: VecDeque<LivePayload>,
    bytes: usize,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| {
            waiting.payloads.len() >= INBOX_PAYLOADS_MAX || waiting.bytes >= INBOX_BYTES_MAX
        })
    }

    pub(super) fn push(&mut self, payload: LivePayload) {
        let waiting = self.0.get_or_insert_default();
        waiting.bytes += size(&payload);
        waiting.payloads.push_back(payload);
    }

    /// Takes some of the oldest; none if there is none.
    pub(super) fn take_batch(&mut self) -> VecDeque<LivePayload> {
        let Some(mut waiting) = self.0.take() else { return VecDeque::new() };
        if waiting.payloads.len() <= BATCH_PAYLOADS {
            return waiting.payloads;
        }
        let rest = waiting.payloads.split_off(BATCH_PAYLOADS);
        let batch = std::mem::replace(&mut waiting.payloads, rest);
        waiting.bytes -= batch.iter().map(size).sum::<usize>();
        self.0 = Some(waiting);
        batch
    }
}

fn size(payload: &LivePayload) -> usize {
    match payload {
        LivePayload::Logged(entry) => entry.json.len(),
        LivePayload::Ephemeral(json) => json.len(),
        LivePayload::Garbage(_) | LivePayload::Interrupted => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn payload(bytes: usize) -> LivePayload {
        LivePayload::Ephemeral(Bytes::from(vec![b'x'; bytes]))
    }

    #[test]
    fn what_waits_is_taken_in_its_order_and_in_batches() {
        let mut inbox = Inbox::default();
        (0..BATCH_PAYLOADS + 2).for_each(|number| inbox.push(payload(number)));
        let sizes = |batch: VecDeque<LivePayload>| batch.iter().map(size).collect::<Vec<_>>();
        assert_eq!(sizes(inbox.take_batch()), (0..BATCH_PAYLOADS).collect::<Vec<_>>());
        assert_eq!(sizes(inbox.take_batch()), [BATCH_PAYLOADS, BATCH_PAYLOADS + 1]);
        assert!(inbox.is_empty());
        assert!(inbox.take_batch().is_empty());
    }

    #[test]
    fn what_was_taken_counts_no_more_while_others_wait() {
        let mut inbox = Inbox::default();
        (0..BATCH_PAYLOADS).for_each(|_| inbox.push(payload(INBOX_BYTES_MAX / BATCH_PAYLOADS)));
        inbox.push(payload(1));
        assert!(inbox.is_full());
        inbox.take_batch();
        assert!(!inbox.is_empty() && !inbox.is_full());
    }

    #[test]
    fn it_is_full_by_number_or_by_bytes_and_has_room_again_when_a_batch_was_taken() {
        let mut by_number = Inbox::default();
        (0..INBOX_PAYLOADS_MAX).for_each(|_| by_number.push(payload(1)));
        let mut by_bytes = Inbox::default();
        by_bytes.push(payload(INBOX_BYTES_MAX));
        for mut inbox in [by_number, by_bytes] {
            assert!(inbox.is_full());
            inbox.take_batch();
            assert!(!inbox.is_full());
        }
    }
}
