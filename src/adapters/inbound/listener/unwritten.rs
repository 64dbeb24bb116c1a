//! What is to be written of an answer. While there is nothing, nothing is held for it.

use std::cell::Cell;

/// A buffer that has grown larger is not kept for others.
pub(super) const SPARE_MAX_BYTES: usize = 16 * 1024;
/// Written bytes at the front are dropped once there are so many, and more of them than of unwritten.
const COMPACT_FROM_BYTES: usize = 4 * 1024;

thread_local! {
    /// Left by whoever has written everything to whoever writes next on this thread.
    static SPARE: Cell<Option<Box<Buffer>>> = const { Cell::new(None) };
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    written: usize,
}

/// Bytes that wait for the socket.
#[derive(Debug, Default)]
pub(super) struct Unwritten(Option<Box<Buffer>>);

impl Unwritten {
    /// What is appended to this is to be written.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0.get_or_insert_with(|| SPARE.take().unwrap_or_default()).bytes
    }

    /// What is next.
    pub(super) fn rest(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |buffer| &buffer.bytes[buffer.written..])
    }

    /// So much of the rest has been written.
    pub(super) fn advance(&mut self, count: usize) {
        let Some(buffer) = &mut self.0 else { return };
        buffer.written += count;
        // Where some is always left, what is written must not pile up.
        if buffer.written >= COMPACT_FROM_BYTES && buffer.written * 2 >= buffer.bytes.len() {
            buffer.bytes.drain(..buffer.written);
            buffer.written = 0;
        }
    }

    /// Leaves the buffer to others, if nothing of it waits.
    pub(super) fn let_go(&mut self) {
        if self.rest().is_empty()
            && let Some(mut buffer) = self.0.take()
            && buffer.bytes.capacity() <= SPARE_MAX_BYTES
        {
            buffer.bytes.clear();
            buffer.written = 0;
            SPARE.set(Some(buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_written_in_its_order_and_nothing_is_kept_of_it() {
        let mut unwritten = Unwritten::default();
        assert!(unwritten.rest().is_empty());
        unwritten.buffer().extend_from_slice(b"one");
        unwritten.advance(2);
        unwritten.let_go();
        unwritten.buffer().extend_from_slice(b"two");
        assert_eq!(unwritten.rest(), b"etwo");
        unwritten.advance(4);
        unwritten.let_go();
        assert!(unwritten.0.is_none());
        let mut next = Unwritten::default();
        assert!(next.buffer().is_empty(), "whoever writes next sees nothing of it");
    }

    #[test]
    fn where_some_is_always_left_what_is_written_does_not_pile_up() {
        let mut unwritten = Unwritten::default();
        unwritten.buffer().extend_from_slice(&[b'x'; 1_000]);
        for _ in 0..10_000 {
            unwritten.buffer().extend_from_slice(&[b'x'; 1_000]);
            unwritten.advance(1_000);
            unwritten.let_go();
        }
        assert_eq!(unwritten.rest().len(), 1_000);
        assert!(unwritten.buffer().capacity() < 64 * 1024, "{}", unwritten.buffer().capacity());
    }
}
