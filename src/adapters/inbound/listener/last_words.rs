//! How a connection ends that was refused: with the protocol's words, and so that the peer gets to read them.

use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::request_head::{Head, take_head};
use crate::adapters::inbound::wire::errors::error_json;
use crate::domain::error::{ErrorCode, Refusal};

/// How long the peer of a refused connection may go on sending after the answer.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// And how much.
const LINGER_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes that are kept of what a client sends before its answer is complete.
const AHEAD_MAX_BYTES: usize = 16 * 1024;
/// And read at once.
const AHEAD_READ_BYTES: usize = 2048;
/// What every refusal in HTTP/1.1 begins with.
const REFUSAL: &[u8] = b"HTTP/1.1 4";

/// The stream under an HTTP connection.
///
/// What hyper refuses by itself (RFC 9112 §2.2, RFC 6585 §5) it answers with no body at all: here the error object is
/// put in. And a connection that is closed while the peer is still sending is reset, by which the peer may lose the
/// answer; so after a refusal what still comes is thrown away for a moment (RFC 9112 §9.6).
#[derive(Debug)]
pub(super) struct LastWords<Io> {
    io: Io,
    /// Was read already, and is read again before anything else.
    ahead: Option<Box<Bytes>>,
    /// Set when all that was written has been handed to the socket.
    flushed: Option<Arc<AtomicBool>>,
    /// Whether the current request's first line has ended: if not, it is what was too long.
    line_ended: bool,
    lingers: bool,
    /// In place of what hyper wrote.
    instead: Option<Box<Instead>>,
    linger: Option<Box<Linger>>,
}

#[derive(Debug)]
struct Instead {
    bytes: Vec<u8>,
    written: usize,
}

#[derive(Debug)]
struct Linger {
    timeout: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<Io> LastWords<Io> {
    /// For HTTP/1.1. What was read of the stream before is read again.
    pub(super) fn http1(io: Io, ahead: Bytes) -> Self {
        let ahead = kept(ahead);
        Self { io, ahead, flushed: None, line_ended: false, lingers: false, instead: None, linger: None }
    }

    /// For HTTP/2, where hyper has words of its own, and any end may be a refusal.
    pub(super) fn http2(io: Io, ahead: Bytes) -> Self {
        Self { lingers: true, ..Self::http1(io, ahead) }
    }

    /// Sets the flag at each flush: whoever buffers flushes only what lies under an empty buffer.
    pub(super) fn tell_flushes(&mut self, flushed: Option<Arc<AtomicBool>>) {
        self.flushed = flushed;
    }

    /// Takes a request of which the head lies in what was read ahead.
    pub(super) fn take_head(&mut self, max_bytes: usize) -> Head {
        let Some(mut ahead) = self.ahead.take() else { return Head::Partial };
        let head = take_head(&mut ahead, max_bytes);
        self.ahead = kept(*ahead);
        head
    }

    /// Puts back what was read too far.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        self.ahead = kept(match self.ahead.take() {
            None => bytes,
            Some(ahead) => [bytes, *ahead].concat().into(),
        });
    }

    /// The stream itself, for whoever goes on with it, and what was read too far.
    pub(super) fn into_parts(self) -> (Io, Bytes) {
        (self.io, self.ahead.map_or_else(Bytes::new, |ahead| *ahead))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> LastWords<Io> {
    /// Looks at what is about to be written. True if something else will be.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        if !bytes.starts_with(REFUSAL) {
            self.line_ended = false;
            return false;
        }
        self.lingers = true;
        let Some(status) = bare_refusal(bytes) else { return false };
        let line_too_long = status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE && !self.line_ended;
        let bytes = refusal(if line_too_long { StatusCode::URI_TOO_LONG } else { status });
        self.instead = Some(Box::new(Instead { bytes, written: 0 }));
        true
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(instead) = &mut self.instead else { return Poll::Ready(Ok(())) };
        while instead.written < instead.bytes.len() {
            let rest = &instead.bytes[instead.written..];
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            instead.written += written;
        }
        self.instead = None;
        Poll::Ready(Ok(()))
    }

    /// So many bytes are as good as written: what can't be now, is with the next flush.
    fn poll_replaced(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<usize>> {
        match self.poll_instead(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes)),
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| {
            Box::new(Linger { timeout: Box::pin(tokio::time::sleep(LINGER_TIMEOUT)), bytes: 0 })
        });
        let mut thrown_away = [0; 4096];
        while linger.bytes < LINGER_MAX_BYTES {
            let mut buf = ReadBuf::new(&mut thrown_away);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => linger.bytes += buf.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return linger.timeout.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

impl<Io: AsyncRead + Unpin> LastWords<Io> {
    /// Whether something has been read that nobody has taken.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    /// Reads what comes before anybody asks for it, and keeps it for whoever does. `false`: the peer has ended. Where much
    /// is kept already, nothing more is read.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let ahead = self.ahead.as_ref().map_or(&[][..], |ahead| ahead.as_ref());
        if ahead.len() >= AHEAD_MAX_BYTES {
            return Poll::Pending;
        }
        // On the stack: of most that wait nothing is read.
        let mut bytes = [const { MaybeUninit::uninit() }; AHEAD_READ_BYTES];
        let mut buf = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
        self.ahead = kept([ahead, buf.filled()].concat().into());
        Poll::Ready(Ok(!buf.filled().is_empty()))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for LastWords<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match self.ahead.take() {
            None => ready!(Pin::new(&mut self.io).poll_read(cx, buf))?,
            Some(mut ahead) => {
                let count = ahead.len().min(buf.remaining());
                buf.put_slice(&ahead.split_to(count));
                self.ahead = kept(*ahead);
            }
        }
        self.line_ended = self.line_ended || buf.filled()[before..].contains(&b'\n');
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LastWords<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        if self.replaces(buf) {
            return self.poll_replaced(cx, buf.len());
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        let first = bufs.iter().find(|slice| !slice.is_empty());
        if first.is_some_and(|first| self.replaces(first)) {
            return self.poll_replaced(cx, first.map_or(0, |first| first.len()));
        }
        // Head and body in one segment: some clients look no further.
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if let Some(flushed) = &self.flushed {
            flushed.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(self.poll_instead(cx))?;
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        if self.lingers {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// What was read ahead, if it is anything.
fn kept(ahead: Bytes) -> Option<Box<Bytes>> {
    if ahead.is_empty() { None } else { Some(Box::new(ahead)) }
}

/// The status of a refusal that is complete and has no body, as only hyper's own are.
fn bare_refusal(bytes: &[u8]) -> Option<StatusCode> {
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    lines.any(|line| line.eq_ignore_ascii_case("content-length: 0")).then_some(status)
}

/// The same with a body.
fn refusal(status: StatusCode) -> Vec<u8> {
    let message = match status {
        StatusCode::URI_TOO_LONG => "the request's target is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the request's header is too large",
        _ => "this is no HTTP request",
    };
    let body = error_json(&Refusal::new(ErrorCode::BadRequest, message), None);
    let head = format!(
        "HTTP/1.1 {} {}\r\nconnection: close\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
         content-length: {}\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Bad Request"),
        body.len()
    );
    [head.into_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const BARE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                          content-length: 0\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n";

    /// What the peer reads of what is written, after it has sent something.
    async fn read_of(sent: &[u8], written: &[u8]) -> String {
        let (server, mut client) = duplex(64);
        let mut server = LastWords::http1(server, Bytes::new());
        client.write_all(sent).await.unwrap();
        server.read_exact(&mut vec![0; sent.len()]).await.unwrap();
        let write = async {
            server.write_all(written).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let mut read = String::new();
        let (_, count) = futures_util::future::join(write, client.read_to_string(&mut read)).await;
        count.unwrap();
        read
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_without_a_body_gets_one() {
        let read = read_of(b"GET / HTTP/1.1\r\nx: y", BARE).await;
        assert!(read.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{read}");
        assert!(read.contains("\r\nconnection: close\r\n"), "{read}");
        let (head, body) = read.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{read}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["type"], &body["code"]), (&"error".into(), &"bad_request".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_without_an_end_is_a_target_too_long() {
        assert!(read_of(b"GET /xxxxxxxx", BARE).await.starts_with("HTTP/1.1 414 URI Too Long\r\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_a_body_is_left_alone() {
        for whole in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n",
        ] {
            assert_eq!(read_of(b"GET", whole.as_bytes()).await, whole);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_what_still_comes_is_thrown_away_for_a_moment() {
        let (server, mut client) = duplex(64);
        let mut server = LastWords::http1(server, Bytes::new());
        server.write_all(b"HTTP/1.1 413 \r\n").await.unwrap();
        let start = tokio::time::Instant::now();
        let sending = client.write_all(&[b'x'; 100_000]);
        let (closed, sent) = futures_util::future::join(server.shutdown(), sending).await;
        closed.unwrap();
        sent.unwrap();
        assert!(start.elapsed() >= LINGER_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_refused_is_not_waited_for() {
        let (server, _client) = duplex(64);
        let mut server = LastWords::http1(server, Bytes::new());
        server.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        let start = tokio::time::Instant::now();
        server.shutdown().await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
