//! An answer that goes on, written on the bare socket. While there is nothing to write, nothing is held for it but itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::answer_head::{Chunk, Framing, Written, write_head};
use super::last_words::LastWords;
use super::later::{Awaited, settle};
use super::leaving::{Asked, Leaving, asks_to_close};
use super::stream::{Source, take_source};
use super::transport::Transport;
use super::unwritten::Unwritten;
use super::upgrade::Upgraded;

/// While fewer bytes wait to be written, the answer is asked for more: what is ready together is written together.
const GATHER_BYTES: usize = 4096;
/// How long a client may take nothing of what waits for it.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// A connection while an answer is written that has left hyper.
pub(super) struct Outside<Io> {
    io: Box<LastWords<Io>>,
    stage: Stage,
    out: Unwritten,
    flush_due: bool,
    /// The connection ends with the answer.
    closes: bool,
    /// The connection becomes another protocol's.
    upgrade: Option<oneshot::Sender<Upgraded>>,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

enum Stage {
    /// The answer is yet to come.
    Awaited(Awaited),
    /// The rest of its body is.
    Body(Body, Framing),
    /// The rest of its body is, and goes straight to where it is written from.
    Source(Box<dyn Source>),
    /// All of it has been handed out.
    Complete,
    /// The client has gone.
    Gone,
}

impl<Io> Outside<Io>
where
    Io: AsyncRead + AsyncWrite + Into<Transport> + Unpin,
{
    /// `finishing`: no request may follow.
    pub(super) fn new(io: Box<LastWords<Io>>, leaving: Leaving, finishing: bool) -> Self {
        let Leaving { answer, asked: Asked { closes, upgrade } } = leaving;
        let mut outside = Self {
            io,
            stage: Stage::Complete,
            out: Unwritten::default(),
            flush_due: false,
            closes,
            upgrade,
            stalled: None,
        };
        outside.go_on(answer, finishing);
        outside
    }

    /// Writes the answer to its end, or until the client has gone.
    ///
    /// # Errors
    /// The connection is broken, or the client has taken nothing for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, finish: &CancellationToken) -> Poll<io::Result<()>> {
        loop {
            let mut waits = false;
            if self.pending() < GATHER_BYTES {
                match self.poll_answer(cx, finish) {
                    Poll::Ready(()) if self.pending() < GATHER_BYTES && !self.is_over() => continue,
                    Poll::Ready(()) => {}
                    Poll::Pending => waits = true,
                }
            }
            ready!(self.poll_write(cx))?;
            if self.is_over() {
                if self.closes && self.upgrade.is_none() {
                    return self.poll_close(cx);
                }
                return Poll::Ready(Ok(()));
            }
            // Only an answer that has been asked and has nothing wakes this task when it has.
            if waits && !ready!(self.io.poll_ahead(cx))? {
                self.stage = Stage::Gone;
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The stream, if another request may come on it. If the answer was an upgrade, whoever asked for it gets it instead.
    pub(super) fn into_stream(self) -> Option<Box<LastWords<Io>>> {
        match (self.stage, self.upgrade) {
            (Stage::Complete, Some(upgrade)) => {
                let (io, ahead) = self.io.into_parts();
                // Who waited for it may be gone.
                let _ = upgrade.send((io.into(), ahead));
                None
            }
            (Stage::Complete, None) if !self.closes => Some(self.io),
            _ => None,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Complete | Stage::Gone)
    }

    fn pending(&self) -> usize {
        self.out.rest().len()
    }

    /// Takes what the answer has. Pending: nothing now.
    fn poll_answer(&mut self, cx: &mut Context<'_>, finish: &CancellationToken) -> Poll<()> {
        match &mut self.stage {
            Stage::Awaited(awaited) => {
                let answer = ready!(Pin::new(awaited).poll(cx));
                self.go_on(settle(answer), finish.is_cancelled());
            }
            Stage::Body(body, framing) => {
                let written = match ready!(Pin::new(body).poll_frame(cx)) {
                    // Trailers, which nothing here has, are left out, as RFC 9110 §6.5.1 allows.
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => framing.write(&data, self.out.buffer()),
                        Err(_) => Written::More,
                    },
                    Some(Err(error)) => {
                        tracing::debug!(%error, "an answer broke off");
                        Written::Broken
                    }
                    None => framing.end(self.out.buffer()),
                };
                match written {
                    Written::More => {}
                    Written::All => self.stage = Stage::Complete,
                    // Cut off, so that nobody takes it for complete.
                    Written::Broken => self.stage = Stage::Gone,
                }
            }
            Stage::Source(source) => {
                let out = self.out.buffer();
                let chunk = Chunk::begin(out);
                let written = source.poll_write(cx, out);
                chunk.end(out);
                if !ready!(written) {
                    Framing::Chunked.end(out);
                    self.stage = Stage::Complete;
                }
            }
            Stage::Complete | Stage::Gone => {}
        }
        Poll::Ready(())
    }

    fn go_on(&mut self, answer: Result<Response, Awaited>, finishing: bool) {
        match answer {
            Ok(answer) => self.begin(answer, finishing),
            Err(awaited) => self.stage = Stage::Awaited(awaited),
        }
    }

    fn begin(&mut self, mut answer: Response, finishing: bool) {
        let source = take_source(&mut answer);
        let (head, body) = answer.into_parts();
        self.closes |= finishing || asks_to_close(&head.headers);
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            self.upgrade = None;
        }
        let framing = if source.is_some() { Framing::Chunked } else { Framing::of(head.status, &body) };
        write_head(&head, framing, self.closes, self.out.buffer());
        self.stage = match source {
            Some(source) => Stage::Source(source),
            None if framing.is_empty() => Stage::Complete,
            None => Stage::Body(body, framing),
        };
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pending() > 0 || self.flush_due {
            let io = Pin::new(&mut *self.io);
            let result = match self.out.rest() {
                [] => io.poll_flush(cx).map_ok(|()| 0),
                rest => io.poll_write(cx, rest),
            };
            let Poll::Ready(result) = result else { return self.poll_stalled(cx) };
            self.stalled = None;
            let count = result?;
            if count == 0 && self.pending() > 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(count);
            self.flush_due = count > 0;
        }
        // An answer that waits keeps no room for what it will be.
        self.out.let_go();
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut *self.io).poll_shutdown(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => self.poll_stalled(cx),
        }
    }

    /// The client takes nothing: not for ever.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_MAX)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use axum::response::IntoResponse;
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::adapters::inbound::listener::later::later;

    impl From<DuplexStream> for Transport {
        fn from(_: DuplexStream) -> Self {
            unreachable!("nothing is upgraded here")
        }
    }

    const PIPE_BYTES: usize = 1024;

    /// A client's end, and an answer of several times what the pipe holds.
    fn answering() -> (DuplexStream, Outside<DuplexStream>) {
        let (server, client) = duplex(PIPE_BYTES);
        let answer = "x".repeat(8 * PIPE_BYTES).into_response();
        let leaving = Leaving { answer: Ok(answer), asked: Asked { closes: false, upgrade: None } };
        (client, Outside::new(Box::new(LastWords::http1(server, Bytes::new())), leaving, false))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (_client, mut outside) = answering();
        let (start, finish) = (Instant::now(), CancellationToken::new());
        let ended = tokio::time::timeout(WRITE_STALL_MAX * 2, poll_fn(|cx| outside.poll(cx, &finish))).await;
        assert_eq!(ended.expect("it is not waited for").unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= WRITE_STALL_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_that_takes_a_little_now_and_then_is_not() {
        let (mut client, mut outside) = answering();
        let finish = CancellationToken::new();
        let written = poll_fn(|cx| outside.poll(cx, &finish));
        let read = async {
            let mut left = 8 * PIPE_BYTES;
            while left > 0 {
                sleep(WRITE_STALL_MAX * 3 / 4).await;
                left = left.saturating_sub(client.read(&mut [0; PIPE_BYTES]).await.unwrap());
            }
            client
        };
        let (written, _client) = futures_util::future::join(written, read).await;
        written.unwrap();
        assert!(outside.into_stream().is_some());
    }

    /// What is left after a write that took only a part may fit into the next: the answer has to be asked again then.
    #[tokio::test(start_paused = true)]
    async fn an_answer_goes_on_after_a_write_that_took_only_a_part() {
        let (server, mut client) = duplex(8 * PIPE_BYTES);
        let frames = [[b'a'; 12 * PIPE_BYTES], [b'b'; 12 * PIPE_BYTES]]
            .map(|frame| Ok::<_, io::Error>(Bytes::copy_from_slice(&frame)));
        let answer = Body::from_stream(tokio_stream::iter(frames)).into_response();
        let leaving = Leaving { answer: Ok(answer), asked: Asked { closes: true, upgrade: None } };
        let mut outside = Outside::new(Box::new(LastWords::http1(server, Bytes::new())), leaving, false);
        let finish = CancellationToken::new();
        // A task of its own: what wakes the client must not have the answer polled as well.
        let reading = TaskTracker::new().spawn(async move {
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.map(|_| read)
        });
        let written = poll_fn(|cx| outside.poll(cx, &finish));
        let written =
            tokio::time::timeout(WRITE_STALL_MAX / 2, written).await.expect("it does not stand still");
        written.unwrap();
        let read = reading.await.unwrap().unwrap();
        assert_eq!(read.iter().filter(|byte| **byte == b'b').count(), 12 * PIPE_BYTES);
        assert!(read.ends_with(b"b\r\n0\r\n\r\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn so_much_is_read_ahead_and_the_rest_waits_in_the_socket() {
        let (server, mut client) = duplex(PIPE_BYTES);
        let (answer_now, asked) = oneshot::channel::<()>();
        let promise = later(async move {
            asked.await.unwrap();
            "now".into_response()
        });
        let leaving = Leaving { answer: settle(promise), asked: Asked { closes: false, upgrade: None } };
        let mut outside = Outside::new(Box::new(LastWords::http1(server, Bytes::new())), leaving, false);
        let finish = CancellationToken::new();
        let sent: Vec<u8> = (0..40 * PIPE_BYTES).map(|n| (n % 251) as u8).collect();
        let mut taken = 0;
        let send = async {
            while taken < sent.len() {
                taken += client.write(&sent[taken..]).await.unwrap();
            }
        };
        let both =
            futures_util::future::select(Box::pin(poll_fn(|cx| outside.poll(cx, &finish))), Box::pin(send));
        assert!(tokio::time::timeout(WRITE_STALL_MAX, both).await.is_err(), "neither side gets any further");
        assert!((16 * PIPE_BYTES..=19 * PIPE_BYTES).contains(&taken), "{taken}");
        answer_now.send(()).unwrap();
        poll_fn(|cx| outside.poll(cx, &finish)).await.unwrap();
        let mut stream = outside.into_stream().unwrap();
        let rest = async {
            client.write_all(&sent[taken..]).await.unwrap();
        };
        let mut read = vec![0; sent.len()];
        let (_, count) = futures_util::future::join(rest, stream.read_exact(&mut read)).await;
        count.unwrap();
        assert!(read == sent, "in order and whole");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_shorter_than_was_said_ends_the_connection() {
        struct Short(bool);
        impl http_body::Body for Short {
            type Data = Bytes;
            type Error = io::Error;
            fn poll_frame(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
                let first = !std::mem::replace(&mut self.0, true);
                Poll::Ready(first.then(|| Ok(http_body::Frame::data(Bytes::from_static(b"short")))))
            }
            fn size_hint(&self) -> http_body::SizeHint {
                http_body::SizeHint::with_exact(10)
            }
        }
        let (server, _client) = duplex(PIPE_BYTES);
        let answer = Response::new(Body::new(Short(false)));
        let leaving = Leaving { answer: Ok(answer), asked: Asked { closes: false, upgrade: None } };
        let mut outside = Outside::new(Box::new(LastWords::http1(server, Bytes::new())), leaving, false);
        let finish = CancellationToken::new();
        poll_fn(|cx| outside.poll(cx, &finish)).await.unwrap();
        assert!(outside.into_stream().is_none());
    }

    #[test]
    fn it_is_small() {
        type Bare = Outside<tokio::net::TcpStream>;
        assert!(size_of::<Bare>() <= 96, "{}", size_of::<Bare>());
    }
}
