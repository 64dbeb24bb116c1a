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

use super::answer_head::{Framing, write_head};
use super::http1::{Leaving, asks_to_close};
use super::last_words::LastWords;
use super::later::{Awaited, settle};
use super::transport::Transport;
use super::upgrade::Upgraded;

/// While fewer bytes wait to be written, the answer is asked for more: what is ready together is written together.
const GATHER_BYTES: usize = 4096;
/// How long a client may take nothing of what waits for it.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// A connection while an answer is written that has left hyper.
pub(super) struct Outside<Io> {
    io: Box<LastWords<Io>>,
    stage: Stage,
    out: Vec<u8>,
    /// So much of `out` has been.
    written: usize,
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
        let Leaving { answer, closes, upgrade } = leaving;
        let mut outside = Self {
            io,
            stage: Stage::Complete,
            out: Vec::new(),
            written: 0,
            flush_due: false,
            closes,
            upgrade,
            stalled: None,
        };
        match settle(answer) {
            Ok(answer) => outside.begin(answer, finishing),
            Err(awaited) => outside.stage = Stage::Awaited(awaited),
        }
        outside
    }

    /// Writes the answer to its end, or until the client has gone.
    ///
    /// # Errors
    /// The connection is broken, or the client has taken nothing for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, finish: &CancellationToken) -> Poll<io::Result<()>> {
        loop {
            let more = self.pending() < GATHER_BYTES && self.poll_answer(cx, finish).is_ready();
            if more && self.pending() < GATHER_BYTES && !self.is_over() {
                continue;
            }
            ready!(self.poll_write(cx))?;
            if self.is_over() {
                if self.closes && self.upgrade.is_none() {
                    ready!(Pin::new(&mut *self.io).poll_shutdown(cx))?;
                }
                return Poll::Ready(Ok(()));
            }
            if !more && !ready!(self.io.poll_ahead(cx))? {
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
        self.out.len() - self.written
    }

    /// Takes what the answer has. Pending: nothing now.
    fn poll_answer(&mut self, cx: &mut Context<'_>, finish: &CancellationToken) -> Poll<()> {
        match &mut self.stage {
            Stage::Awaited(awaited) => {
                let answer = ready!(Pin::new(awaited).poll(cx));
                self.begin(answer, finish.is_cancelled());
            }
            Stage::Body(body, framing) => match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers, which nothing here has, are left out, as RFC 9110 §6.5.1 allows.
                    if let Ok(data) = frame.into_data() {
                        framing.write(&data, &mut self.out);
                    }
                }
                Some(Err(error)) => {
                    // Cut off, so that nobody takes it for complete.
                    tracing::debug!(%error, "an answer broke off");
                    self.stage = Stage::Gone;
                }
                None => {
                    framing.end(&mut self.out);
                    self.stage = Stage::Complete;
                }
            },
            Stage::Complete | Stage::Gone => {}
        }
        Poll::Ready(())
    }

    fn begin(&mut self, answer: Response, finishing: bool) {
        let (head, body) = answer.into_parts();
        self.closes |= finishing || asks_to_close(&head.headers);
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            self.upgrade = None;
        }
        let framing = Framing::of(head.status, &body);
        write_head(&head, framing, self.closes, &mut self.out);
        self.stage = if framing == Framing::None { Stage::Complete } else { Stage::Body(body, framing) };
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pending() > 0 || self.flush_due {
            let io = Pin::new(&mut *self.io);
            let result = match &self.out[self.written..] {
                [] => io.poll_flush(cx).map_ok(|()| 0),
                rest => io.poll_write(cx, rest),
            };
            let Poll::Ready(result) = result else { return self.poll_stalled(cx) };
            self.stalled = None;
            let count = result?;
            if count == 0 && self.pending() > 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.flush_due = count > 0;
            if self.pending() == 0 {
                self.out = Vec::new();
                self.written = 0;
            }
        }
        Poll::Ready(Ok(()))
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
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

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
        let leaving = Leaving { answer, closes: false, upgrade: None };
        (client, Outside::new(Box::new(LastWords::http1(server, Bytes::new())), leaving, false))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (_client, mut outside) = answering();
        let (start, finish) = (Instant::now(), CancellationToken::new());
        let ended = poll_fn(|cx| outside.poll(cx, &finish)).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= WRITE_STALL_MAX && start.elapsed() < WRITE_STALL_MAX * 2);
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

    #[test]
    fn it_is_small() {
        type Bare = Outside<tokio::net::TcpStream>;
        assert!(size_of::<Bare>() <= 256, "{}", size_of::<Bare>());
    }
}
