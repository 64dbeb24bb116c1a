//! Frames to be written, in order: small ones side by side in one buffer, large payloads shared and never copied.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::close;
use super::frame::{CONTROL_PAYLOAD_MAX_BYTES, HEADER_MAX_BYTES, Opcode, write_header};

/// From this size on a payload is shared rather than copied. Below, a copy costs less than what sharing needs: one
/// slice more for the kernel to walk, one slot more in the queue, and an atomic count that all cores fight over.
pub const SHARE_FROM_BYTES: usize = 512;
/// Most slices handed to one `writev`.
pub const WRITE_MAX_SLICES: usize = 64;
/// Written bytes at the front of the buffer are dropped once there are so many, and more of them than of unwritten.
const COMPACT_FROM_BYTES: usize = 4 * 1024;

/// A queue that is written keeps what room it has for the next connection, up to this many bytes of frames.
const SPARE_OWNED_MAX_BYTES: usize = 16 * 1024;
/// The same, for segments.
const SPARE_SEGMENTS_MAX: usize = WRITE_MAX_SLICES;

thread_local! {
    /// What the last connection that wrote everything has left: the next one need not ask for memory.
    static SPARE: Cell<Option<Box<Queue>>> = const { Cell::new(None) };
}

/// The writing half of a connection: a queue of frames and how far it is written. It holds nothing when all is written.
///
/// The queue has no bound of its own, apart from pongs: whoever feeds it looks at [`pending_bytes`] first.
///
/// [`pending_bytes`]: Self::pending_bytes
#[derive(Debug, Default)]
pub struct Writer {
    /// There is one exactly if something waits to be written.
    queue: Option<Box<Queue>>,
    closing: bool,
}

/// Frames that wait. Never empty, but while it is spare.
#[derive(Debug, Default)]
struct Queue {
    /// The owned parts of all segments, one after the other.
    owned: Vec<u8>,
    /// How much of `owned` is written.
    owned_written: usize,
    segments: VecDeque<Segment>,
    pending_bytes: usize,
    /// How much must be written until the pong in the queue has left; 0 if there is none.
    pong_leaves_after_bytes: usize,
    /// Answers the latest ping as soon as the pong before it has left.
    waiting_pong: Option<Bytes>,
}

/// Some bytes of the owned buffer, and a shared payload after them. Whole frames and beginnings of frames lie side by
/// side in the first part.
#[derive(Debug)]
struct Segment {
    owned_bytes: usize,
    shared: Bytes,
}

impl Writer {
    /// Queues a text message of which the beginning is this connection's own and the rest is shared with others.
    pub fn feed_text(&mut self, prefix: &[u8], shared: &Bytes) {
        self.feed_frame(Opcode::Text, false, prefix, shared);
    }

    /// The same for a compressed message (RFC 7692): the prefix is a block, or several, as the rest is.
    pub fn feed_compressed(&mut self, prefix: &[u8], shared: &Bytes) {
        self.feed_frame(Opcode::Text, true, prefix, shared);
    }

    /// Queues a ping, with at most 125 bytes of the payload.
    pub fn feed_ping(&mut self, payload: &[u8]) {
        let payload = &payload[..payload.len().min(CONTROL_PAYLOAD_MAX_BYTES)];
        self.feed_frame(Opcode::Ping, false, payload, &Bytes::new());
    }

    /// Answers a ping. Only the latest unanswered one is sure to be answered (RFC 6455 §5.5.3 allows it): at most one
    /// pong is queued and one waits, however fast a peer pings and however slowly it reads.
    pub fn feed_pong(&mut self, payload: Bytes) {
        match &mut self.queue {
            Some(queue) if queue.pong_leaves_after_bytes > 0 => queue.waiting_pong = Some(payload),
            _ => self.queue_pong(&payload),
        }
    }

    /// Queues a close frame. It is the last frame: what is fed later goes nowhere (RFC 6455 §5.5.1).
    pub fn feed_close(&mut self, code: Option<u16>, reason: &str) {
        let mut payload = Vec::with_capacity(CONTROL_PAYLOAD_MAX_BYTES);
        close::write_payload(code, reason, &mut payload);
        self.feed_frame(Opcode::Close, false, &payload, &Bytes::new());
        self.closing = true;
        if let Some(queue) = &mut self.queue {
            queue.waiting_pong = None;
        }
    }

    /// Whether a close frame has been fed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Bytes that are fed and not yet written, headers included.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.pending_bytes)
    }

    /// More slices than that are not needed for all that waits.
    #[must_use]
    pub fn slices_max(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.segments.len() * 2)
    }

    /// Puts what is to be written next into the slices, and says how many were needed.
    #[must_use]
    pub fn fill_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.fill_slices(slices))
    }

    /// So many bytes of the slices have been written.
    pub fn advance(&mut self, written: usize) {
        let Some(mut queue) = self.queue.take() else { return };
        let pong = queue.advance(written);
        if queue.pending_bytes > 0 {
            self.queue = Some(queue);
        } else {
            queue.set_aside();
        }
        if let Some(payload) = pong {
            self.queue_pong(&payload);
        }
    }

    fn queue_pong(&mut self, payload: &[u8]) {
        self.feed_frame(Opcode::Pong, false, payload, &Bytes::new());
        if let Some(queue) = self.queue.as_mut().filter(|_| !self.closing) {
            queue.pong_leaves_after_bytes = queue.pending_bytes;
        }
    }

    fn feed_frame(&mut self, opcode: Opcode, compressed: bool, prefix: &[u8], payload: &Bytes) {
        if !self.closing {
            let queue = self.queue.get_or_insert_with(|| SPARE.take().unwrap_or_default());
            queue.push(opcode, compressed, prefix, payload);
        }
    }
}

impl Queue {
    fn push(&mut self, opcode: Opcode, compressed: bool, prefix: &[u8], payload: &Bytes) {
        let none = Bytes::new();
        let (copied, shared) =
            if payload.len() < SHARE_FROM_BYTES { (payload, none) } else { (&none, payload.clone()) };
        self.compact();
        let start = self.owned.len();
        self.owned.reserve(HEADER_MAX_BYTES + prefix.len() + copied.len());
        write_header(opcode, compressed, prefix.len() + payload.len(), &mut self.owned);
        self.owned.extend_from_slice(prefix);
        self.owned.extend_from_slice(copied);
        let owned_bytes = self.owned.len() - start;
        self.pending_bytes += owned_bytes + shared.len();
        match self.segments.back_mut() {
            Some(last) if last.shared.is_empty() => {
                last.owned_bytes += owned_bytes;
                last.shared = shared;
            }
            _ => self.segments.push_back(Segment { owned_bytes, shared }),
        }
    }

    fn fill_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut owned = &self.owned[self.owned_written..];
        for segment in &self.segments {
            let (own, rest) = owned.split_at(segment.owned_bytes);
            owned = rest;
            for part in [own, segment.shared.as_ref()] {
                if !part.is_empty() {
                    if filled == slices.len() {
                        return filled;
                    }
                    slices[filled] = IoSlice::new(part);
                    filled += 1;
                }
            }
        }
        filled
    }

    /// Returns the pong that has its turn now.
    fn advance(&mut self, written: usize) -> Option<Bytes> {
        self.pending_bytes -= written;
        let mut left = written;
        while left > 0
            && let Some(segment) = self.segments.front_mut()
        {
            let own = left.min(segment.owned_bytes);
            segment.owned_bytes -= own;
            self.owned_written += own;
            left -= own;
            let shared = left.min(segment.shared.len());
            segment.shared.advance(shared);
            left -= shared;
            if segment.owned_bytes == 0 && segment.shared.is_empty() {
                self.segments.pop_front();
            }
        }
        self.pong_leaves_after_bytes = self.pong_leaves_after_bytes.saturating_sub(written);
        if self.pong_leaves_after_bytes == 0 { self.waiting_pong.take() } else { None }
    }

    /// All is written: the thread's next connection that writes gets the room, unless it is too much to keep.
    fn set_aside(mut self: Box<Self>) {
        if self.owned.capacity() <= SPARE_OWNED_MAX_BYTES && self.segments.capacity() <= SPARE_SEGMENTS_MAX {
            self.owned.clear();
            self.owned_written = 0;
            SPARE.set(Some(self));
        }
    }

    fn compact(&mut self) {
        if self.owned_written >= COMPACT_FROM_BYTES && self.owned_written * 2 >= self.owned.len() {
            self.owned.drain(..self.owned_written);
            self.owned_written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

    use super::*;

    /// Writes everything, in portions of the given sizes.
    fn drain(writer: &mut Writer, portions: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut portions = portions.iter().cycle();
        while writer.pending_bytes() > 0 {
            let mut slices = [IoSlice::new(&[]); WRITE_MAX_SLICES];
            let count = writer.fill_slices(&mut slices);
            let mut room = *portions.next().unwrap();
            let mut written = 0;
            for slice in &slices[..count] {
                let taken = &slice[..slice.len().min(room)];
                out.extend_from_slice(taken);
                room -= taken.len();
                written += taken.len();
            }
            writer.advance(written);
        }
        out
    }

    /// What an independent client reads.
    fn read_by_tungstenite(bytes: &[u8]) -> Vec<Message> {
        let stream = std::io::Cursor::new(bytes.to_vec());
        let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
        let mut client = WebSocket::from_raw_socket(stream, Role::Client, Some(config));
        std::iter::from_fn(|| client.read().ok()).collect()
    }

    fn shared(bytes: usize) -> Bytes {
        Bytes::from("s".repeat(bytes))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_fed_is_read_by_another_implementation_however_it_is_written(
            messages in proptest::collection::vec(
                ("[a-z]{0,80}", prop_oneof![0usize..200, 500usize..520, 60_000usize..70_000]),
                1..20,
            ),
            portions in proptest::collection::vec(1usize..10_000, 2..10),
        ) {
            let mut writer = Writer::default();
            let mut expected = Vec::new();
            for (prefix, bytes) in &messages {
                writer.feed_text(prefix.as_bytes(), &shared(*bytes));
                expected.push(Message::text(format!("{prefix}{}", "s".repeat(*bytes))));
            }
            let written = drain(&mut writer, &portions);
            prop_assert_eq!(read_by_tungstenite(&written), expected);
            prop_assert!(writer.queue.is_none());
        }
    }

    #[test]
    fn a_large_payload_is_written_from_where_it_lies() {
        let payload = shared(SHARE_FROM_BYTES);
        let mut writer = Writer::default();
        writer.feed_text(b"prefix", &payload);
        let mut slices = [IoSlice::new(&[]); WRITE_MAX_SLICES];
        assert_eq!(writer.fill_slices(&mut slices), 2);
        assert_eq!(slices[1].as_ptr(), payload.as_ptr());
    }

    #[test]
    fn small_frames_lie_side_by_side_in_one_slice() {
        let mut writer = Writer::default();
        for _ in 0..1_000 {
            writer.feed_text(b"prefix", &shared(SHARE_FROM_BYTES - 1));
        }
        assert_eq!(writer.fill_slices(&mut [IoSlice::new(&[]); WRITE_MAX_SLICES]), 1);
        assert_eq!(writer.pending_bytes(), 1_000 * (4 + 6 + SHARE_FROM_BYTES - 1));
    }

    #[test]
    fn a_queue_that_is_never_empty_does_not_keep_what_is_written() {
        let mut writer = Writer::default();
        writer.feed_text(&[b'x'; 1_000], &Bytes::new());
        for _ in 0..10_000 {
            writer.feed_text(&[b'x'; 1_000], &Bytes::new());
            writer.advance(1_004);
        }
        assert_eq!(writer.pending_bytes(), 1_004);
        let kept = writer.queue.as_ref().map_or(0, |queue| queue.owned.capacity());
        assert!(kept < 64 * 1024, "{kept}");
    }

    #[test]
    fn of_many_pings_the_first_and_the_latest_are_answered() {
        let mut writer = Writer::default();
        writer.feed_text(b"before", &Bytes::new());
        for payload in ["1", "2", "3"] {
            writer.feed_pong(payload.into());
        }
        writer.feed_text(b"after", &Bytes::new());
        let written = drain(&mut writer, &[3]);
        let pong = |payload: &'static str| Message::Pong(payload.into());
        assert_eq!(
            read_by_tungstenite(&written),
            [Message::text("before"), pong("1"), Message::text("after"), pong("3")]
        );
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut writer = Writer::default();
        writer.feed_pong("1".into());
        writer.feed_pong("2".into());
        writer.feed_close(Some(4009), "superseded");
        writer.feed_text(b"late", &Bytes::new());
        writer.feed_pong("late".into());
        writer.feed_close(Some(1000), "");
        let written = drain(&mut writer, &[5]);
        let messages = read_by_tungstenite(&written);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0], Message::Pong("1".into()));
        let Message::Close(Some(frame)) = &messages[1] else { panic!("{messages:?}") };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4009, "superseded"));
    }
}
