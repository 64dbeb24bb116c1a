//! Events that may be dropped: at most one of a kind per user and feed, a bounded number in all.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{FeedKey, UserId};

/// Most ephemeral events that wait for a reader.
pub const EPHEMERALS_MAX: usize = 64;

/// The ephemeral events that wait for a reader, oldest first. Most of the time there are none: then there is no queue.
#[derive(Debug, Default)]
pub struct Ephemerals {
    #[expect(clippy::box_collection, reason = "a quarter of the room in every session")]
    waiting: Option<Box<VecDeque<Arc<Event>>>>,
}

impl Ephemerals {
    /// Adds an event in place of an older one of the same kind, user and feed. Returns how many were dropped: the
    /// oldest goes when there are too many.
    pub fn push(&mut self, event: Arc<Event>) -> usize {
        let waiting = self.waiting.get_or_insert_default();
        let before = waiting.len();
        waiting.retain(|older| !same_subject(older, &event));
        let mut dropped = before - waiting.len();
        if waiting.len() >= EPHEMERALS_MAX {
            waiting.pop_front();
            dropped += 1;
        }
        waiting.push_back(event);
        dropped
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Arc<Event>> {
        let waiting = self.waiting.as_mut()?;
        let event = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting = None;
        }
        event
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_none()
    }

    /// Drops all. Returns how many there were.
    pub fn clear(&mut self) -> usize {
        self.waiting.take().map_or(0, |waiting| waiting.len())
    }

    /// Drops what came from a feed.
    pub fn cut(&mut self, feed: &FeedKey) {
        self.retain(|event| event.feed != *feed);
    }

    /// Drops a user's typing in a feed: the user's message ends it.
    pub fn end_typing(&mut self, feed: &FeedKey, sender: &UserId) {
        self.retain(|event| {
            event.feed != *feed || !matches!(&event.kind, EventKind::Typing { user, .. } if user == sender)
        });
    }

    fn retain(&mut self, keep: impl Fn(&Event) -> bool) {
        if let Some(waiting) = &mut self.waiting {
            waiting.retain(|event| keep(event));
            if waiting.is_empty() {
                self.waiting = None;
            }
        }
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
