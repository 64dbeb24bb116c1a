//! One buffer per thread, lent for the length of a read or a write: why an idle connection owns none.

use std::cell::Cell;

/// Size of the buffer: also the most that one read takes from a socket.
pub const SCRATCH_BYTES: usize = 16 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Lends the thread's buffer. What it holds is left over from somebody else's use: only bytes just written to it may
/// be read back. A nested use gets a buffer of its own.
pub fn with_scratch<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; SCRATCH_BYTES].into_boxed_slice());
    let result = use_it(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}
