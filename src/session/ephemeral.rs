//! Events that may be dropped: at most one of a kind per user and feed, a bounded number in all.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{FeedKey, UserId};

/// Most ephemeral events that wait for a reader.
pub const EPHEMERALS_MAX: usize = 64;

/// The ephemeral events that wait for a reader, oldest first.
#[derive(Debug, Default)]
pub struct Ephemerals {
    waiting: VecDeque<Arc<Event>>,
}

impl Ephemerals {
    /// Adds an event in place of an older one of the same kind, user and feed. Returns how many were dropped: the
    /// oldest goes when there are too many.
    pub fn push(&mut self, event: Arc<Event>) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|older| !same_subject(older, &event));
        let mut dropped = before - self.waiting.len();
        if self.waiting.len() >= EPHEMERALS_MAX {
            self.waiting.pop_front();
            dropped += 1;
        }
        self.waiting.push_back(event);
        dropped
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Arc<Event>> {
        let event = self.waiting.pop_front();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        event
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Drops all. Returns how many there were.
    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.waiting).len()
    }

    /// Drops what came from a feed.
    pub fn cut(&mut self, feed: &FeedKey) {
        self.waiting.retain(|event| event.feed != *feed);
    }

    /// Drops a user's typing in a feed: the user's message ends it.
    pub fn end_typing(&mut self, feed: &FeedKey, sender: &UserId) {
        self.waiting.retain(|event| {
            event.feed != *feed || !matches!(&event.kind, EventKind::Typing { user, .. } if user == sender)
        });
    }
}

fn same_subject(a: &Event, b: &Event) -> bool {
    let same_kind = match (&a.kind, &b.kind) {
        (EventKind::Typing { user: a, .. }, EventKind::Typing { user: b, .. })
        | (EventKind::Presence { user: a, .. }, EventKind::Presence { user: b, .. }) => a == b,
        _ => false,
    };
    same_kind && a.feed == b.feed
}
