//! The newest events of a feed, decoded: what a session that is a little behind gets without reading the log.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::event::{Event, LogPosition};

/// Most events kept.
pub const RECENT_EVENTS_MAX: usize = 128;
/// Most bytes of event bodies kept.
pub const RECENT_BYTES_MAX: usize = 64 * 1024;

/// A run of consecutive offsets that ends at the feed's position. An offset whose event could not be decoded is in the
/// run, too, without an event. Nothing is kept for a feed without any.
#[derive(Debug, Default)]
pub struct Recent(Option<Box<Run>>);

#[derive(Debug, Default)]
struct Run {
    events: VecDeque<Option<Arc<Event>>>,
    bytes: usize,
}

impl Recent {
    /// Adds the event at the next offset.
    pub fn push(&mut self, event: Option<Arc<Event>>) {
        let run = self.0.get_or_insert_default();
        run.bytes += size(event.as_ref());
        run.events.push_back(event);
        while run.events.len() > RECENT_EVENTS_MAX || run.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = run.events.pop_front() else { break };
            run.bytes -= size(oldest.as_ref());
        }
    }

    /// Forgets all: the next event does not follow the last.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The events after an offset, if the run reaches back that far. `end` is the offset the run ends with.
    pub fn after(&self, offset: u64, end: &LogPosition) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let missing = end.offset.checked_sub(offset)?;
        let held = self.0.as_ref().map_or(0, |run| run.events.len());
        let start = held.checked_sub(usize::try_from(missing).ok()?)?;
        Some(self.0.iter().flat_map(move |run| run.events.range(start..).flatten()))
    }
}

fn size(event: Option<&Arc<Event>>) -> usize {
    event.map_or(0, |event| event.body.len())
}
