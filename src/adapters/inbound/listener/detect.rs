//! Which protocol a plaintext connection speaks, by its first bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

/// What an HTTP/2 client with prior knowledge begins with (RFC 9113 §3.4). No method of HTTP/1.1 begins with its first
/// four bytes.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PEEK_BYTES: usize = 4;

/// A connection whose protocol is known. Nothing of it is lost: what was read comes again.
pub(super) enum Detected<Replayed> {
    /// HTTP/1.1 on the bare socket: an upgrade gets exactly this one back.
    Http1(TcpStream),
    /// HTTP/1.1 whose beginning was read: a request that begins with `P`, sent in pieces.
    Http1Replayed(Replayed),
    /// HTTP/2, its preface to be read again.
    Http2(Replayed),
}

/// Waits until the protocol is clear. Has no limit of time of its own: the caller sets it.
///
/// The socket is only peeked at while that suffices. Waiting for more by peeking would spin, as the bytes already there
/// keep the socket readable; so what might become the preface is read and replayed.
///
/// # Errors
/// `UnexpectedEof` when the peer left without a byte; else what the socket says.
pub(super) async fn detect(
    mut stream: TcpStream,
) -> io::Result<Detected<impl AsyncRead + AsyncWrite + Send + Unpin + 'static>> {
    let mut first = [0; PEEK_BYTES];
    let peeked = stream.peek(&mut first).await?;
    if peeked == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !PREFACE.starts_with(&first[..peeked]) {
        return Ok(Detected::Http1(stream));
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
    let (reader, writer) = stream.into_split();
    let replayed = tokio::io::join(io::Cursor::new(read).chain(reader), writer);
    Ok(if is_preface { Detected::Http2(replayed) } else { Detected::Http1Replayed(replayed) })
}
