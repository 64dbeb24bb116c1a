//! One buffer per thread, for what is about to be written: whoever has written everything leaves it to the next.

use std::cell::Cell;

/// A buffer that has grown larger is not kept.
const SPARE_MAX_BYTES: usize = 16 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty buffer, with room if there is a spare one.
pub(super) fn take() -> Vec<u8> {
    SPARE.take()
}

/// Leaves a buffer to whoever writes next.
pub(super) fn leave(mut buffer: Vec<u8>) {
    if buffer.capacity() <= SPARE_MAX_BYTES {
        buffer.clear();
        SPARE.set(buffer);
    }
}
