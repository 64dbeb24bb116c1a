//! Which protocol a plaintext connection speaks, by its first bytes.

use std::io;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What an HTTP/2 client with prior knowledge begins with (RFC 9113 §3.4). No method of HTTP/1.1 begins with its first
/// four bytes.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PEEK_BYTES: usize = 4;

/// A connection whose protocol is known, and what was read of it to know.
pub(super) enum Detected {
    /// HTTP/1.1.
    Http1(TcpStream, Bytes),
    /// HTTP/2.
    Http2(TcpStream, Bytes),
}

/// Waits until the protocol is clear. Has no limit of time of its own: the caller sets it.
///
/// The socket is only peeked at while that suffices. Waiting for more by peeking would spin, as the bytes already there
/// keep the socket readable; so what might become the preface is read.
///
/// # Errors
/// `UnexpectedEof` when the peer left without a byte; else what the socket says.
pub(super) async fn detect(mut stream: TcpStream) -> io::Result<Detected> {
    let mut first = [0; PEEK_BYTES];
    let peeked = stream.peek(&mut first).await?;
    if peeked == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !PREFACE.starts_with(&first[..peeked]) {
        return Ok(Detected::Http1(stream, Bytes::new()));
    }
    let mut read = Vec::with_capacity(PREFACE.len());
    let is_preface = loop {
        let more = (&mut stream).take((PREFACE.len() - read.len()) as u64).read_buf(&mut read).await?;
        if more == 0 || !PREFACE.starts_with(&read) {
            break false;
        }
        if read.len() == PREFACE.len() {
            break true;
        }
    };
    let read = Bytes::from(read);
    Ok(if is_preface { Detected::Http2(stream, read) } else { Detected::Http1(stream, read) })
}
