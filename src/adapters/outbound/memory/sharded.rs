//! State behind several locks instead of one.

use std::hash::{BuildHasher, Hash};

use hashbrown::DefaultHashBuilder;
use parking_lot::{Mutex, MutexGuard};

/// How many locks a piece of state is spread over.
pub(super) const SHARDS: usize = 64;

/// [`SHARDS`] pieces of state, each behind its own lock; a key always meets the same piece.
#[derive(Debug)]
pub(super) struct Sharded<S> {
    shards: Box<[Mutex<S>]>,
    hasher: DefaultHashBuilder,
}

impl<S: Default> Default for Sharded<S> {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(S::default())).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<S> Sharded<S> {
    /// Locks the piece of a key.
    pub(super) fn lock<K: Hash>(&self, key: &K) -> MutexGuard<'_, S> {
        // The upper half: a map inside the piece may pick its buckets by the lower bits of the same hash.
        let hash = self.hasher.hash_one(key) >> 32;
        self.shards[hash as usize % SHARDS].lock()
    }

    /// Locks one piece after the other, never two at once.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, S>> {
        self.shards.iter().map(Mutex::lock)
    }
}
