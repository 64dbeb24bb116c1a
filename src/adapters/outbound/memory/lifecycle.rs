//! The newest lifecycle events of this one node. Nobody outside of the process can read them; the log is what a node
//! alone has in place of the stream.

use std::collections::VecDeque;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::application::ports::bus::BusError;
use crate::application::ports::lifecycle::{LifecycleEvent, LifecycleLog};

/// How many are kept.
pub const LIFECYCLE_EVENTS_MAX: usize = 1000;

/// Keeps the newest events.
#[derive(Debug, Default)]
pub struct MemoryLifecycle {
    newest: Mutex<VecDeque<LifecycleEvent>>,
}

impl MemoryLifecycle {
    /// The newest [`LIFECYCLE_EVENTS_MAX`], oldest first.
    #[must_use]
    pub fn newest(&self) -> Vec<LifecycleEvent> {
        self.newest.lock().iter().cloned().collect()
    }
}

#[async_trait]
impl LifecycleLog for MemoryLifecycle {
    async fn append(&self, events: &[LifecycleEvent], again: bool) -> Result<(), BusError> {
        let mut newest = self.newest.lock();
        for event in events {
            if again && newest.contains(event) {
                continue;
            }
            if newest.len() >= LIFECYCLE_EVENTS_MAX {
                newest.pop_front();
            }
            newest.push_back(event.clone());
        }
        Ok(())
    }
}
