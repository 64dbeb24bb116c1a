//! A WebSocket over a connection: one task reads and writes it, and nothing is held for it while it is idle.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::close::Violation;
use super::deflate::{DEFLATE_FROM_BYTES, SharedDeflate, write_stored};
use super::reader::{Decoder, Incoming, MessageLimits};
use super::scratch::with_scratch;
use super::writer::{WRITE_MAX_SLICES, Writer};
use crate::domain::time::Tick;

/// Over so many unwritten bytes [`WebSocket::has_room`] says no. One message more may always be fed.
pub const WRITE_SOFT_LIMIT_BYTES: usize = 64 * 1024;
/// Most bytes that are read and thrown away after our close frame, so that the peer gets to see it.
pub const LINGER_MAX_BYTES: usize = 1024 * 1024;

/// What most writes need.
const WRITE_FEW_SLICES: usize = 4;

/// The end of time, when the allowance is always full.
const PINGS_DO_NOT_COUNT: Tick = Tick(u64::MAX);

/// What [`WebSocket::event`] waits for.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The client has sent something.
    Received(Incoming),
    /// Everything that was fed has been handed to the connection.
    Flushed,
}

/// Why a connection can't go on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The client broke a rule: [`WebSocket::close`] with the code that is given.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The connection is broken: there is nobody to say anything to.
    #[error("the connection is broken")]
    Io(#[from] io::Error),
}

/// The server's end of a WebSocket.
///
/// Nothing happens but inside its functions, and all of them but [`close`] may be dropped half-way (in a `select!`)
/// without losing a byte of either direction. Pings are answered and a close frame is echoed without further ado; the
/// answers leave with the next [`event`] or [`flush`].
///
/// ```no_run
/// # use std::time::Duration;
/// # use bytes::Bytes;
/// # use edgeway::adapters::inbound::listener::transport::Transport;
/// # use edgeway::adapters::inbound::websocket::{close, reader::Incoming};
/// # use edgeway::adapters::inbound::websocket::socket::{Event, SocketError, WebSocket};
/// # use edgeway::domain::time::Tick;
/// # struct Session;
/// # impl Session {
/// #     fn next(&self) -> Option<(Vec<u8>, Bytes)> { None }
/// #     async fn changed(&self) {}
/// #     async fn command(&self, text: &str) {}
/// # }
/// # async fn serve(mut socket: WebSocket<Transport>, session: Session, clock: impl Fn() -> Tick) {
/// let (code, reason) = loop {
///     while socket.has_room() {
///         let Some((cursor, event)) = session.next() else { break };
///         socket.feed_text(&cursor, event);
///     }
///     tokio::select! {
///         event = socket.event(clock()) => match event {
///             Some(Ok(Event::Received(Incoming::Text(text)))) => session.command(&text).await,
///             Some(Ok(Event::Received(_) | Event::Flushed)) => {}
///             Some(Err(SocketError::Violation(violation))) => break (violation.close_code, violation.reason),
///             Some(Err(SocketError::Io(_))) => return,
///             None => break (close::NORMAL, ""),
///         },
///         () = session.changed(), if socket.has_room() => {}
///     }
/// };
/// socket.close(code, reason, Duration::from_secs(1)).await;
/// # }
/// ```
///
/// [`close`]: Self::close
/// [`event`]: Self::event
/// [`flush`]: Self::flush
#[derive(Debug)]
pub struct WebSocket<IO> {
    io: IO,
    /// Bytes of a read that hold more than the message that was asked for.
    unread: Option<Box<Bytes>>,
    decoder: Decoder,
    writer: Writer,
    /// Nothing more is to be read: the client has closed, or broken a rule, or gone.
    read_ended: bool,
    /// All is written, and the connection may still have it in a buffer of its own.
    flush_due: bool,
    /// All is flushed, and nobody has been told.
    flushed_untold: bool,
    /// permessage-deflate has been negotiated.
    deflates: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> WebSocket<IO> {
    /// A WebSocket over a connection on which the handshake is done, and what was read of it beyond the handshake.
    #[must_use]
    pub fn new(io: IO, read_ahead: Bytes, limits: MessageLimits) -> Self {
        Self {
            io,
            unread: kept(read_ahead),
            decoder: Decoder::new(limits),
            writer: Writer::default(),
            read_ended: false,
            flush_due: false,
            flushed_untold: false,
            deflates: false,
        }
    }

    /// What lies underneath.
    #[must_use]
    pub fn connection(&self) -> &IO {
        &self.io
    }

    /// Queues a text message: `prefix`, which is copied, and then `shared`, which is not unless it is small.
    pub fn feed_text(&mut self, prefix: &[u8], shared: Bytes) {
        self.writer.feed_text(prefix, &shared);
    }

    /// From here on messages may be compressed, in both directions.
    pub fn deflate(&mut self) {
        self.deflates = true;
        self.decoder.inflate();
    }

    /// Queues a text message of which the body goes to others as well. It goes compressed if that has been negotiated
    /// and makes it shorter; what is compressed then is shared, too.
    pub fn feed_shared(&mut self, prefix: &[u8], body: &Bytes, deflate: &SharedDeflate) {
        if self.deflates
            && body.len() >= DEFLATE_FROM_BYTES
            && let Some(blocks) = deflate.blocks_of(body)
        {
            let mut stored = Vec::new();
            write_stored(prefix, &mut stored);
            return self.writer.feed_compressed(&stored, &blocks);
        }
        self.writer.feed_text(prefix, body);
    }

    /// Queues a ping of at most 125 bytes.
    pub fn feed_ping(&mut self, payload: &[u8]) {
        self.writer.feed_ping(payload);
    }

    /// Queues a close frame, after which nothing can be fed. [`close`](Self::close) does this and all that follows.
    pub fn feed_close(&mut self, code: u16, reason: &str) {
        self.writer.feed_close(Some(code), reason);
    }

    /// Bytes that are fed and not yet handed to the connection.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.writer.pending_bytes()
    }

    /// Whether another message should be fed, or what is queued go first.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.pending_bytes() < WRITE_SOFT_LIMIT_BYTES
    }

    /// Waits for the client, and writes what has been fed meanwhile. `None`: the client has closed or is gone.
    ///
    /// `now` is when the call is made; it only counts pings.
    pub async fn event(&mut self, now: Tick) -> Option<Result<Event, SocketError>> {
        poll_fn(|cx| self.poll_event(cx, now)).await
    }

    /// What [`event`](Self::event) does.
    pub fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        now: Tick,
    ) -> Poll<Option<Result<Event, SocketError>>> {
        // Writing may be stuck or broken: what the client has sent before that is still worth reading.
        let written = self.poll_flush(cx);
        if let Poll::Ready(incoming) = self.poll_read_message(cx, now) {
            return Poll::Ready(incoming.map(|result| result.map(Event::Received)));
        }
        match written {
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(Ok(())) if std::mem::take(&mut self.flushed_untold) => {
                Poll::Ready(Some(Ok(Event::Flushed)))
            }
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Waits for the client without writing. `None`: the client has closed or is gone.
    pub async fn read(&mut self, now: Tick) -> Option<Result<Incoming, SocketError>> {
        poll_fn(|cx| self.poll_read_message(cx, now)).await
    }

    /// What [`read`](Self::read) does.
    pub fn poll_read_message(
        &mut self,
        cx: &mut Context<'_>,
        now: Tick,
    ) -> Poll<Option<Result<Incoming, SocketError>>> {
        while !self.read_ended {
            let decoded = match self.unread.take() {
                Some(unread) => self.decode_unread(*unread, now),
                None => match ready!(self.poll_read_and_decode(cx, now)) {
                    Ok(decoded) => decoded,
                    Err(error) => {
                        self.read_ended = true;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                },
            };
            match decoded {
                Ok(Some(incoming)) => {
                    self.answer(&incoming);
                    return Poll::Ready(Some(Ok(incoming)));
                }
                Ok(None) => {}
                Err(violation) => {
                    self.read_ended = true;
                    self.unread = None;
                    return Poll::Ready(Some(Err(violation.into())));
                }
            }
        }
        Poll::Ready(None)
    }

    /// Waits until everything that was fed has been handed to the connection.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// What [`flush`](Self::flush) does. After `Pending` it goes on where it was.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.writer.pending_bytes() > 0 {
            let written = ready!(poll_write(Pin::new(&mut self.io), cx, &self.writer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.writer.advance(written);
            self.flush_due = true;
        }
        if self.flush_due {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.flush_due = false;
            self.flushed_untold = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Closes with a code and a reason, or goes on with the closing that the client began, and takes at most `limit`.
    ///
    /// What was fed before goes out first. Then the client has the time to answer with its own close frame (RFC 6455
    /// §7.1.1); whatever it still sends is thrown away, because a connection that is dropped with bytes unread is
    /// reset, and the client would see that instead of our code.
    pub async fn close(mut self, code: u16, reason: &str, limit: Duration) {
        self.feed_close(code, reason);
        // Broken or out of time: either way it is over.
        let _ = timeout(limit, self.finish()).await;
    }

    async fn finish(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            while let Poll::Ready(incoming) = self.poll_read_message(cx, PINGS_DO_NOT_COUNT) {
                if incoming.is_none() {
                    return self.poll_flush(cx);
                }
            }
            ready!(self.poll_flush(cx))?;
            Poll::Pending
        })
        .await?;
        poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await?;
        self.linger().await
    }

    async fn linger(&mut self) -> io::Result<()> {
        let mut thrown_away = 0;
        while thrown_away < LINGER_MAX_BYTES {
            let read = poll_fn(|cx| poll_read(Pin::new(&mut self.io), cx, |bytes| bytes.len())).await?;
            if read == 0 {
                break;
            }
            thrown_away += read;
        }
        Ok(())
    }

    fn answer(&mut self, incoming: &Incoming) {
        match incoming {
            Incoming::Ping(payload) => self.writer.feed_pong(payload.clone()),
            Incoming::Close(frame) => {
                self.writer.feed_close(frame.code, "");
                self.read_ended = true;
                self.unread = None;
            }
            Incoming::Text(_) | Incoming::Pong(_) => {}
        }
    }

    fn decode_unread(&mut self, mut unread: Bytes, now: Tick) -> Result<Option<Incoming>, Violation> {
        let mut input = unread.as_ref();
        let decoded = self.decoder.decode(&mut input, now);
        let used = unread.len() - input.len();
        unread.advance(used);
        self.unread = kept(unread);
        decoded
    }

    fn poll_read_and_decode(
        &mut self,
        cx: &mut Context<'_>,
        now: Tick,
    ) -> Poll<io::Result<Result<Option<Incoming>, Violation>>> {
        let Self { io, decoder, unread, read_ended, .. } = self;
        poll_read(Pin::new(io), cx, |mut bytes| {
            *read_ended = bytes.is_empty();
            let decoded = decoder.decode(&mut bytes, now);
            if !bytes.is_empty() {
                *unread = kept(Bytes::copy_from_slice(bytes));
            }
            decoded
        })
    }
}

/// What is left to be read. Nothing is not kept: an empty slice would still hold the buffer that it was cut from.
fn kept(unread: Bytes) -> Option<Box<Bytes>> {
    if unread.is_empty() { None } else { Some(Box::new(unread)) }
}

/// Reads once, into a buffer that is not ours to keep, and lets the bytes be looked at; no bytes at all are the end.
fn poll_read<IO: AsyncRead, R>(
    io: Pin<&mut IO>,
    cx: &mut Context<'_>,
    look: impl FnOnce(&[u8]) -> R,
) -> Poll<io::Result<R>> {
    with_scratch(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(io.poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(look(buffer.filled())))
    })
}

/// Writes once, as many frames as the connection takes in one go.
fn poll_write<IO: AsyncWrite>(
    io: Pin<&mut IO>,
    cx: &mut Context<'_>,
    writer: &Writer,
) -> Poll<io::Result<usize>> {
    // One event alone is two slices: no need to clear room for many.
    if writer.slices_max() <= WRITE_FEW_SLICES {
        poll_write_from(io, cx, writer, &mut [IoSlice::new(&[]); WRITE_FEW_SLICES])
    } else {
        poll_write_from(io, cx, writer, &mut [IoSlice::new(&[]); WRITE_MAX_SLICES])
    }
}

fn poll_write_from<'a, IO: AsyncWrite>(
    io: Pin<&mut IO>,
    cx: &mut Context<'_>,
    writer: &'a Writer,
    slices: &mut [IoSlice<'a>],
) -> Poll<io::Result<usize>> {
    let count = writer.fill_slices(slices);
    match &slices[..count] {
        [slice] => io.poll_write(cx, slice),
        slices if io.is_write_vectored() => io.poll_write_vectored(cx, slices),
        // HTTP/2 would make a frame of its own of each slice.
        slices => with_scratch(|scratch| {
            let mut filled = 0;
            for slice in slices {
                let taken = slice.len().min(scratch.len() - filled);
                scratch[filled..filled + taken].copy_from_slice(&slice[..taken]);
                filled += taken;
            }
            io.poll_write(cx, &scratch[..filled])
        }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::task::yield_now;

    use super::*;
    use crate::adapters::inbound::listener::transport::Transport;
    use crate::adapters::inbound::websocket::client_frames::client_frame;
    use crate::adapters::inbound::websocket::deflate::inflate;
    use crate::adapters::inbound::websocket::frame::Opcode;

    const NOW: Tick = Tick(0);
    const LIMITS: MessageLimits = MessageLimits::of_bytes(64 * 1024);

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<WebSocket<Transport>>() <= 120, "{}", size_of::<WebSocket<Transport>>());
        assert!(
            size_of::<Decoder>() + size_of::<Writer>() <= 56,
            "{} {}",
            size_of::<Decoder>(),
            size_of::<Writer>()
        );
    }

    #[tokio::test]
    async fn nothing_is_lost_when_waiting_is_given_up_over_and_over() {
        let (server, client) = duplex(7);
        let (mut from_server, mut to_server) = tokio::io::split(client);
        let texts: Vec<String> = (0..50).map(|i| format!("{i} {}", "x".repeat(i * 13))).collect();
        let sent: Vec<u8> =
            texts.iter().flat_map(|text| client_frame(true, Opcode::Text, text.as_bytes())).collect();

        let echo = async {
            let mut socket = WebSocket::new(server, Bytes::new(), LIMITS);
            let mut received = 0;
            let mut given_up = 0;
            while received < 50 || socket.pending_bytes() > 0 {
                tokio::select! {
                    biased;
                    event = socket.event(NOW) => if let Event::Received(Incoming::Text(text)) = event.unwrap().unwrap() {
                        received += 1;
                        socket.feed_text(b"> ", text.into());
                    },
                    () = yield_now() => given_up += 1,
                }
            }
            assert!(given_up > 100);
        };
        let read = async {
            let mut all = Vec::new();
            from_server.read_to_end(&mut all).await.unwrap();
            all
        };
        let ((), all, written) = tokio::join!(echo, read, to_server.write_all(&sent));
        written.unwrap();

        let mut expected = Writer::default();
        for text in texts {
            expected.feed_text(b"> ", &text.into());
        }
        assert_eq!(all.len(), expected.pending_bytes());
        let mut slices = [IoSlice::new(&[]); WRITE_MAX_SLICES];
        let count = expected.fill_slices(&mut slices);
        let expected: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
        assert!(all == expected);
    }

    #[tokio::test]
    async fn flushed_is_told_once_and_never_before_a_message_that_is_there() {
        let (server, mut client) = duplex(1024);
        let mut socket = WebSocket::new(server, Bytes::new(), LIMITS);
        socket.feed_text(b"hello", Bytes::new());
        client.write_all(&client_frame(true, Opcode::Text, b"hi")).await.unwrap();
        assert_eq!(socket.event(NOW).await.unwrap().unwrap(), Event::Received(Incoming::Text("hi".into())));
        assert_eq!(socket.event(NOW).await.unwrap().unwrap(), Event::Flushed);
        tokio::select! {
            biased;
            event = socket.event(NOW) => panic!("{event:?}"),
            () = yield_now() => {}
        }
    }

    #[tokio::test]
    async fn what_goes_to_many_goes_compressed_where_that_is_negotiated_and_worth_it() {
        let (server, mut client) = duplex(8 * 1024);
        let mut socket = WebSocket::new(server, Bytes::new(), LIMITS);
        let (body, shared) = (Bytes::from("so it goes, ".repeat(100)), SharedDeflate::default());
        socket.feed_shared(b"{", &body, &shared);
        socket.deflate();
        socket.feed_shared(b"{", &Bytes::from_static(b"short}"), &shared);
        socket.feed_shared(b"{", &body, &shared);
        socket.flush().await.unwrap();
        drop(socket);
        let mut sent = Vec::new();
        client.read_to_end(&mut sent).await.unwrap();

        let (plain, rest) = sent.split_at(4 + 1 + body.len());
        assert_eq!(plain[0], 0x81);
        let (short, packed) = rest.split_at(2 + 7);
        assert_eq!(short, b"\x81\x07{short}");
        assert_eq!((packed[0], usize::from(packed[1])), (0xc1, packed.len() - 2));
        let inflated = inflate(&packed[2..], LIMITS.bytes as usize).unwrap();
        assert_eq!(inflated, &plain[4..]);
    }

    #[tokio::test]
    async fn every_ping_of_a_burst_is_answered_while_the_client_reads() {
        let (server, mut client) = duplex(1024);
        let mut socket = WebSocket::new(server, Bytes::new(), LIMITS);
        client.write_all(&client_frame(true, Opcode::Ping, b"?").repeat(10)).await.unwrap();
        for _ in 0..10 {
            assert_eq!(
                socket.event(NOW).await.unwrap().unwrap(),
                Event::Received(Incoming::Ping("?".into()))
            );
        }
        assert_eq!(socket.event(NOW).await.unwrap().unwrap(), Event::Flushed);
        let mut pongs = [0; 30];
        client.read_exact(&mut pongs).await.unwrap();
        assert_eq!(pongs.as_slice(), [0x8a, 1, b'?'].repeat(10));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_does_not_wait_longer_than_it_may() {
        for capacity in [1, 1024] {
            let (server, _client_that_does_nothing) = duplex(capacity);
            let socket = WebSocket::new(server, Bytes::new(), LIMITS);
            let start = tokio::time::Instant::now();
            socket.close(1000, "", Duration::from_secs(1)).await;
            assert_eq!(start.elapsed().as_secs(), 1);
        }
    }

    #[tokio::test]
    async fn a_client_can_finish_what_it_was_sending_before_it_looks_for_our_close() {
        let (server, mut client) = duplex(4096);
        let socket = WebSocket::new(server, Bytes::new(), LIMITS);
        let closing = socket.close(1003, "", Duration::from_secs(60));
        let look = async {
            client
                .write_all(&client_frame(true, Opcode::Binary, &vec![0; LINGER_MAX_BYTES / 2]))
                .await
                .unwrap();
            let mut close = [0; 4];
            client.read_exact(&mut close).await.unwrap();
            assert_eq!(close, *b"\x88\x02\x03\xeb");
            assert_eq!(client.read(&mut close).await.unwrap(), 0);
            drop(client);
        };
        tokio::join!(closing, look);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_stops_sending_is_left_after_a_while() {
        let (server, client) = duplex(4096);
        let (_, mut to_server) = tokio::io::split(client);
        let socket = WebSocket::new(server, Bytes::new(), LIMITS);
        let binary = client_frame(true, Opcode::Binary, &[0; 50_000]);
        let flood = async { while to_server.write_all(&binary).await.is_ok() {} };
        let start = tokio::time::Instant::now();
        tokio::join!(socket.close(1003, "", Duration::from_secs(60)), flood);
        assert_eq!(start.elapsed().as_secs(), 0);
    }
}
