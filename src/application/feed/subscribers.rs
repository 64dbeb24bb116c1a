//! The sessions that follow a feed, in chunks: a broadcast walks an immutable snapshot, a change copies one chunk.

use std::sync::Arc;

use crate::application::sessions::live::LiveSession;

/// Sessions in a chunk: what one change copies, and what a broadcast does before it looks up.
pub const CHUNK_SLOTS: usize = 128;

/// A place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    chunk: u32,
    index: u32,
}

/// One chunk; free slots are `None`.
pub type Chunk = Arc<Vec<Option<Arc<LiveSession>>>>;

/// The list.
#[derive(Default)]
pub struct Subscribers {
    chunks: Vec<Chunk>,
    free: Vec<Slot>,
    len: usize,
    closed: bool,
}

/// The feed has been given up: ask for it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl Subscribers {
    /// Adds a session.
    ///
    /// # Errors
    /// [`Closed`] after [`Self::close_if_empty`] has closed the list.
    pub fn insert(&mut self, session: Arc<LiveSession>) -> Result<Slot, Closed> {
        if self.closed {
            return Err(Closed);
        }
        self.len += 1;
        let slot = self.free.pop().unwrap_or_else(|| self.grow());
        self.write(slot, Some(session));
        Ok(slot)
    }

    /// Takes a session out of its slot, if it is still the one there.
    pub fn remove(&mut self, slot: Slot, session: &Arc<LiveSession>) {
        let held = self.chunks.get(slot.chunk as usize).and_then(|chunk| chunk.get(slot.index as usize));
        if held.is_some_and(|held| held.as_ref().is_some_and(|held| Arc::ptr_eq(held, session))) {
            self.write(slot, None);
            self.free.push(slot);
            self.len -= 1;
            if self.len == 0 {
                self.chunks = Vec::new();
                self.free = Vec::new();
            }
        }
    }

    /// All chunks as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Chunk> {
        self.chunks.clone()
    }

    /// Whether nobody follows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Closes the list if nobody follows. Returns whether it is closed now.
    pub fn close_if_empty(&mut self) -> bool {
        self.closed |= self.len == 0;
        self.closed
    }

    fn grow(&mut self) -> Slot {
        let room = self.chunks.last().is_some_and(|chunk| chunk.len() < CHUNK_SLOTS);
        if !room {
            self.chunks.push(Arc::new(Vec::new()));
        }
        let chunk = self.chunks.len() - 1;
        let slots = Arc::make_mut(&mut self.chunks[chunk]);
        slots.push(None);
        Slot { chunk: chunk as u32, index: (slots.len() - 1) as u32 }
    }

    fn write(&mut self, slot: Slot, session: Option<Arc<LiveSession>>) {
        Arc::make_mut(&mut self.chunks[slot.chunk as usize])[slot.index as usize] = session;
    }
}
