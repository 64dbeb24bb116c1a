//! Which protocol a plaintext connection speaks, by its first bytes.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// What an HTTP/2 client with prior knowledge begins with (RFC 9113 §3.4). No method of HTTP/1.1 begins with its first
/// four bytes.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most that is read at once: nearly every first request fits.
const READ_BYTES: usize = 2048;

/// A connection whose protocol is known, and what was read of it, which is read again by whoever speaks it.
pub(super) enum Detected {
    /// HTTP/1.1.
    Http1(TcpStream, Bytes),
    /// HTTP/2.
    Http2(TcpStream, Bytes),
}

/// Waits until the protocol is clear. Has no limit of time of its own: the caller sets it.
///
/// # Errors
/// `UnexpectedEof` when the peer left without a byte; else what the socket says.
pub(super) async fn detect(mut stream: TcpStream) -> io::Result<Detected> {
    let mut read = Vec::new();
    loop {
        let more = poll_fn(|cx| poll_read(&mut stream, &mut read, cx)).await?;
        if read.starts_with(PREFACE) {
            return Ok(Detected::Http2(stream, read.into()));
        }
        if !PREFACE.starts_with(&read) {
            return Ok(Detected::Http1(stream, read.into()));
        }
        match more {
            0 if read.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => return Ok(Detected::Http1(stream, read.into())),
            _ => {}
        }
    }
}

/// Appends what there is, and says how much that is.
fn poll_read(stream: &mut TcpStream, read: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    // On the stack: while nothing comes, nothing is held.
    let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
    let mut buf = ReadBuf::uninit(&mut bytes);
    ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    read.extend_from_slice(buf.filled());
    Poll::Ready(Ok(buf.filled().len()))
}
