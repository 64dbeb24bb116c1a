//! One feed's live channel: who listens, and whose turn it is to deliver.
//!
//! Sinks are called while no lock is held, and yet in the order in which payloads were taken in: whoever finds the
//! channel idle delivers, and goes on with what others leave meanwhile; whoever finds it busy leaves its payload and
//! goes. So a sink may append to its own feed, or drop its own subscription, without a deadlock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::application::ports::bus::{LivePayload, LiveSink};

/// Most payloads that wait for whoever delivers: one more, and the subscribers hear of an interruption instead.
pub(super) const WAITING_MAX_PAYLOADS: usize = 1024;

/// A sink, and whether its subscription still stands.
#[derive(Clone)]
pub(super) struct Subscriber {
    pub(super) id: u64,
    pub(super) sink: Arc<dyn LiveSink>,
    pub(super) ended: Arc<AtomicBool>,
}

/// A payload and who gets it. To be delivered, and dropped, while no lock is held.
pub(super) struct Delivery {
    to: Arc<[Subscriber]>,
    payload: LivePayload,
}

impl Delivery {
    pub(super) fn deliver(self) {
        let standing = |subscriber: &&Subscriber| !subscriber.ended.load(Ordering::Acquire);
        for subscriber in self.to.iter().filter(standing) {
            subscriber.sink.live(self.payload.clone());
        }
    }
}

/// Who listens to a feed, and what still has to be delivered.
#[derive(Default)]
pub(super) struct Channel {
    subscribers: Arc<[Subscriber]>,
    busy: bool,
    /// Boxed: most of the time nothing waits.
    #[expect(clippy::box_collection, reason = "a node has a channel for every user")]
    waiting: Option<Box<VecDeque<LivePayload>>>,
}

impl Channel {
    /// Whether nobody listens and nobody delivers.
    pub(super) fn is_idle(&self) -> bool {
        self.subscribers.is_empty() && !self.busy
    }

    /// Adds a subscriber. What is replaced is handed back, to be dropped while no lock is held.
    #[must_use]
    pub(super) fn add(&mut self, subscriber: Subscriber) -> Arc<[Subscriber]> {
        let more = self.subscribers.iter().cloned().chain([subscriber]).collect();
        std::mem::replace(&mut self.subscribers, more)
    }

    /// Removes the subscriber with this id, and no other. What is replaced is handed back, as with [`Self::add`].
    #[must_use]
    pub(super) fn remove(&mut self, id: u64) -> Arc<[Subscriber]> {
        let rest = self.subscribers.iter().filter(|subscriber| subscriber.id != id).cloned().collect();
        std::mem::replace(&mut self.subscribers, rest)
    }

    /// Takes a payload in. With an answer it is the caller's turn: deliver, then ask [`Self::next`] until it has none.
    #[must_use]
    pub(super) fn offer(&mut self, payload: LivePayload) -> Option<Delivery> {
        if self.busy || self.waiting.is_some() {
            self.wait(payload);
            return if self.busy { None } else { self.next() };
        }
        if self.subscribers.is_empty() {
            return None;
        }
        self.busy = true;
        Some(Delivery { to: self.subscribers.clone(), payload })
    }

    fn wait(&mut self, payload: LivePayload) {
        let waiting = self.waiting.get_or_insert_default();
        if waiting.len() < WAITING_MAX_PAYLOADS {
            waiting.push_back(payload);
        } else {
            waiting.clear();
            waiting.push_back(LivePayload::Interrupted);
        }
    }

    /// The next delivery of whoever's turn it is; with none, the turn is over.
    #[must_use]
    pub(super) fn next(&mut self) -> Option<Delivery> {
        let payload = self.waiting.as_mut().and_then(|waiting| waiting.pop_front());
        if payload.is_none() {
            self.waiting = None;
        }
        self.busy = payload.is_some();
        payload.map(|payload| Delivery { to: self.subscribers.clone(), payload })
    }

    /// Ends the turn of one who panicked inside a sink: the next to come begins with the news that something is lost.
    pub(super) fn abandon(&mut self) {
        self.busy = false;
        let waiting = self.waiting.insert(Box::default());
        waiting.push_back(LivePayload::Interrupted);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    struct Deaf;

    impl LiveSink for Deaf {
        fn live(&self, _: LivePayload) {}
    }

    fn channel() -> Channel {
        let mut channel = Channel::default();
        drop(channel.add(Subscriber { id: 1, sink: Arc::new(Deaf), ended: Arc::default() }));
        channel
    }

    fn ephemeral(n: usize) -> LivePayload {
        LivePayload::Ephemeral(Bytes::from(n.to_string()))
    }

    #[test]
    fn one_delivers_at_a_time_and_takes_what_the_others_leave_in_order() {
        let mut channel = channel();
        let mine = channel.offer(ephemeral(1)).expect("idle: it is mine to deliver");
        assert_eq!(mine.payload, ephemeral(1));
        assert!(channel.offer(ephemeral(2)).is_none());
        assert!(channel.offer(ephemeral(3)).is_none());
        assert_eq!(channel.next().map(|next| next.payload), Some(ephemeral(2)));
        assert_eq!(channel.next().map(|next| next.payload), Some(ephemeral(3)));
        assert!(channel.next().is_none());
        assert!(channel.offer(ephemeral(4)).is_some());
    }

    #[test]
    fn what_waits_is_bounded_and_its_loss_is_announced() {
        let mut channel = channel();
        let turn = channel.offer(ephemeral(0));
        assert!(turn.is_some());
        for n in 0..=WAITING_MAX_PAYLOADS {
            assert!(channel.offer(ephemeral(n)).is_none());
        }
        assert_eq!(channel.next().map(|next| next.payload), Some(LivePayload::Interrupted));
        assert!(channel.next().is_none());
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let mut channel = Channel::default();
        assert!(channel.offer(ephemeral(1)).is_none());
        assert!(channel.is_idle());
    }

    #[test]
    fn after_a_panic_the_next_one_hears_of_the_loss_first() {
        let mut channel = channel();
        let turn = channel.offer(ephemeral(1));
        assert!(turn.is_some());
        channel.abandon();
        assert_eq!(channel.offer(ephemeral(2)).map(|next| next.payload), Some(LivePayload::Interrupted));
        assert_eq!(channel.next().map(|next| next.payload), Some(ephemeral(2)));
    }
}
