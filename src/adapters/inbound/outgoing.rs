//! One list per thread of what a session hands out, lent for the length of a drain.

use std::cell::Cell;

use crate::session::reader::Outgoing;

/// A list that has grown larger is not kept.
const KEPT_ITEMS_MAX: usize = 256;

thread_local! {
    static OUTGOING: Cell<Vec<Outgoing>> = const { Cell::new(Vec::new()) };
}

/// Lends the thread's list, empty. A nested use gets one of its own.
pub fn with_outgoing<R>(use_it: impl FnOnce(&mut Vec<Outgoing>) -> R) -> R {
    let mut outgoing = OUTGOING.take();
    let result = use_it(&mut outgoing);
    outgoing.clear();
    if outgoing.capacity() <= KEPT_ITEMS_MAX {
        OUTGOING.set(outgoing);
    }
    result
}
