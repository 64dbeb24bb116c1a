//! What all queues of a node hold together, in bytes.
//!
//! A body is shared by all sessions that queue it, and counted once, as long as anybody has it; a place in a queue is
//! each session's own, and counted for each. Both are added up in one number, without a lock.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::outbox::Entry;

/// What a place in a queue takes.
pub const PLACE_BYTES: usize = size_of::<Entry>();

/// The sum.
#[derive(Debug, Default)]
pub struct Ledger {
    bytes: AtomicUsize,
}

impl Ledger {
    /// What is held now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// The same body, counted until the last copy of it is gone.
    #[must_use]
    pub fn count(self: &Arc<Self>, body: Bytes) -> Bytes {
        self.add(body.len());
        Bytes::from_owner(Counted { body, ledger: self.clone() })
    }

    /// A queue that held so many places holds so many now. Every queue of the node counts here: nothing is written if
    /// nothing has changed.
    pub(super) fn recount(&self, before: usize, now: usize) {
        match now.cmp(&before) {
            Ordering::Less => self.remove((before - now) * PLACE_BYTES),
            Ordering::Equal => {}
            Ordering::Greater => self.add((now - before) * PLACE_BYTES),
        }
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}

/// Two are the same only if they are one.
impl PartialEq for Ledger {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Ledger {}

struct Counted {
    body: Bytes,
    ledger: Arc<Ledger>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.ledger.remove(self.body.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_counts_once_until_its_last_copy_is_gone() {
        let ledger = Arc::new(Ledger::default());
        let body = ledger.count(Bytes::from_static(b"0123456789"));
        let copies = [body.clone(), body.slice(3..5)];
        drop(body);
        assert_eq!(ledger.bytes(), 10);
        drop(copies);
        assert_eq!(ledger.bytes(), 0);
    }
}
