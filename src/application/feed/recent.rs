//! The newest events of a feed, decoded: what a session that is a little behind gets without reading the log.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::event::{Event, LogPosition};

/// Most events kept.
pub const RECENT_EVENTS_MAX: usize = 128;
/// Most bytes of event bodies kept.
pub const RECENT_BYTES_MAX: usize = 64 * 1024;

/// A run of consecutive offsets that ends at the feed's position. An offset whose event could not be decoded is in the
/// run, too, without an event.
#[derive(Debug, Default)]
pub struct Recent {
    events: VecDeque<Option<Arc<Event>>>,
    bytes: usize,
}

impl Recent {
    /// Adds the event at the next offset.
    pub fn push(&mut self, event: Option<Arc<Event>>) {
        self.bytes += size(event.as_ref());
        self.events.push_back(event);
        while self.events.len() > RECENT_EVENTS_MAX || self.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= size(oldest.as_ref());
        }
    }

    /// Forgets all: the next event does not follow the last.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The events after an offset, if the run reaches back that far. `end` is the offset the run ends with.
    pub fn after(&self, offset: u64, end: &LogPosition) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let missing = end.offset.checked_sub(offset)?;
        let start = self.events.len().checked_sub(usize::try_from(missing).ok()?)?;
        Some(self.events.range(start..).flatten())
    }
}

fn size(event: Option<&Arc<Event>>) -> usize {
    event.map_or(0, |event| event.body.len())
}
