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

/// Where the first one stands, alone or not.
const FIRST: Slot = Slot { chunk: 0, index: 0 };

/// One chunk; free slots are `None`.
pub type Chunk = Arc<Vec<Option<Arc<LiveSession>>>>;

/// The list. A node has a feed for every user, which one session follows, or a few: that one needs no chunk.
#[derive(Default)]
pub enum Subscribers {
    /// Nobody follows.
    #[default]
    Nobody,
    /// One session, in the first place.
    One(Arc<LiveSession>),
    /// More of them, or there were more.
    Many(Box<Chunks>),
    /// The feed has been given up.
    Closed,
}

/// The sessions of a list that has, or had, more than one.
#[derive(Default)]
pub struct Chunks {
    chunks: Vec<Chunk>,
    free: Vec<Slot>,
    len: usize,
}

/// The feed has been given up: ask for it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Who followed at one moment.
pub enum Snapshot {
    /// At most one.
    Few(Option<Arc<LiveSession>>),
    /// Those in chunks.
    Many(Vec<Chunk>),
}

impl Snapshot {
    /// The places, in runs of at most [`CHUNK_SLOTS`], and who is in them.
    pub fn runs(&self) -> impl Iterator<Item = &[Option<Arc<LiveSession>>]> {
        let (few, many) = match self {
            Self::Few(session) => (std::slice::from_ref(session), &[][..]),
            Self::Many(chunks) => (&[][..], &chunks[..]),
        };
        std::iter::once(few).chain(many.iter().map(|chunk| chunk.as_slice()))
    }
}

impl Subscribers {
    /// Adds a session.
    ///
    /// # Errors
    /// [`Closed`] after [`Self::close_if_empty`] has closed the list.
    pub fn insert(&mut self, session: Arc<LiveSession>) -> Result<Slot, Closed> {
        match self {
            Self::Closed => Err(Closed),
            Self::Nobody => {
                *self = Self::One(session);
                Ok(FIRST)
            }
            Self::One(first) => {
                let mut chunks = Box::new(Chunks::default());
                chunks.insert(first.clone());
                let slot = chunks.insert(session);
                *self = Self::Many(chunks);
                Ok(slot)
            }
            Self::Many(chunks) => Ok(chunks.insert(session)),
        }
    }

    /// Takes a session out of its slot, if it is still the one there.
    pub fn remove(&mut self, slot: Slot, session: &Arc<LiveSession>) {
        let is_empty = match self {
            Self::Nobody | Self::Closed => false,
            Self::One(held) => slot == FIRST && Arc::ptr_eq(held, session),
            Self::Many(chunks) => {
                chunks.remove(slot, session);
                chunks.len == 0
            }
        };
        if is_empty {
            *self = Self::Nobody;
        }
    }

    /// All as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        match self {
            Self::Nobody | Self::Closed => Snapshot::Few(None),
            Self::One(session) => Snapshot::Few(Some(session.clone())),
            Self::Many(chunks) => Snapshot::Many(chunks.chunks.clone()),
        }
    }

    /// Whether nobody follows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody | Self::Closed)
    }

    /// Closes the list if nobody follows. Returns whether it is closed now.
    pub fn close_if_empty(&mut self) -> bool {
        if self.is_empty() {
            *self = Self::Closed;
        }
        matches!(self, Self::Closed)
    }
}

impl Chunks {
    fn insert(&mut self, session: Arc<LiveSession>) -> Slot {
        self.len += 1;
        let slot = self.free.pop().unwrap_or_else(|| self.grow());
        self.write(slot, Some(session));
        slot
    }

    fn remove(&mut self, slot: Slot, session: &Arc<LiveSession>) {
        let held = self.chunks.get(slot.chunk as usize).and_then(|chunk| chunk.get(slot.index as usize));
        if held.is_some_and(|held| held.as_ref().is_some_and(|held| Arc::ptr_eq(held, session))) {
            self.write(slot, None);
            self.free.push(slot);
            self.len -= 1;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{SessionId, UserId};
    use crate::domain::time::{Tick, UnixMillis};
    use crate::session::machine::Session;

    fn session(name: &str) -> Arc<LiveSession> {
        let (id, user) = (SessionId::parse(name).unwrap(), UserId::parse("ann").unwrap());
        LiveSession::new(Session::new(Arc::default(), id, user, None, 1, Tick(0), UnixMillis(0)))
    }

    fn names(list: &Subscribers) -> Vec<String> {
        let mut names: Vec<_> =
            list.snapshot().runs().flatten().flatten().map(|session| session.id().to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn those_who_follow_are_in_the_list_until_they_leave_however_many_they_are() {
        let mut list = Subscribers::default();
        let sessions: Vec<_> = (0..300).map(|number| session(&format!("s{number:03}"))).collect();
        let mut slots = Vec::new();
        for (number, session) in sessions.iter().enumerate() {
            slots.push(list.insert(session.clone()).unwrap());
            assert_eq!(names(&list).len(), number + 1);
        }
        for (number, (session, slot)) in sessions.iter().zip(&slots).enumerate() {
            assert!(!list.is_empty());
            list.remove(*slot, session);
            list.remove(*slot, session);
            assert_eq!(names(&list).len(), sessions.len() - number - 1);
        }
        assert!(list.is_empty());
    }

    #[test]
    fn nobody_is_taken_out_of_a_place_that_is_another_s_by_now() {
        let mut list = Subscribers::default();
        let (ann, bob) = (session("ann"), session("bob"));
        let slot = list.insert(ann.clone()).unwrap();
        list.remove(slot, &bob);
        assert_eq!(names(&list), ["ann"]);
        list.remove(slot, &ann);
        assert_eq!(list.insert(bob.clone()), Ok(slot));
        list.remove(slot, &ann);
        assert_eq!(names(&list), ["bob"]);
        let second = list.insert(ann.clone()).unwrap();
        list.remove(slot, &bob);
        assert_eq!(names(&list), ["ann"]);
        list.remove(second, &ann);
        assert!(list.is_empty());
    }

    #[test]
    fn a_list_that_was_closed_takes_nobody() {
        let mut list = Subscribers::default();
        let slot = list.insert(session("ann")).unwrap();
        assert!(!list.close_if_empty());
        let Snapshot::Few(Some(ann)) = list.snapshot() else { panic!("one follows") };
        list.remove(slot, &ann);
        assert!(list.close_if_empty());
        assert_eq!(list.insert(ann), Err(Closed));
    }
}
