//! What lies under a connection once HTTP is out of the way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast as downcast_auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The connection of an upgraded request: the bare stream `T` where there is one, else whatever hyper has.
///
/// An HTTP/1.1 connection gives back the stream that it was served on, and nothing of HTTP stays in memory. A stream of an
/// HTTP/2 connection goes on through hyper; it takes the same bytes, at the price of some copies.
#[derive(Debug)]
pub enum Transport<T = TcpStream> {
    /// The stream that the listener accepted.
    Bare(T),
    /// The same with TLS. Boxed: its state is large, and a plaintext connection should not pay for it.
    Tls(Box<TlsStream<T>>),
    /// Through hyper: HTTP/2, or a stream of another type.
    Upgraded(TokioIo<Upgraded>),
}

/// A client's connection as it was accepted, with TLS or without.
pub(super) trait ClientStream:
    AsyncRead + AsyncWrite + Into<Transport> + Send + Unpin + 'static
{
}

impl<Io: AsyncRead + AsyncWrite + Into<Transport> + Send + Unpin + 'static> ClientStream for Io {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Transport<T> {
    /// Takes the connection out of hyper's hands, with the bytes that hyper had read too far.
    ///
    /// The bare stream is found whether it was served by hyper's own `http1` builder or by hyper-util's `auto`.
    #[must_use]
    pub fn from_upgraded(upgraded: Upgraded) -> (Self, Bytes) {
        let upgraded = match downcast_auto::<TokioIo<T>>(upgraded) {
            Ok(parts) => return (Self::Bare(parts.io.into_inner()), parts.read_buf),
            Err(upgraded) => upgraded,
        };
        match upgraded.downcast::<TokioIo<T>>() {
            Ok(parts) => (Self::Bare(parts.io.into_inner()), parts.read_buf),
            Err(upgraded) => (Self::Upgraded(TokioIo::new(upgraded)), Bytes::new()),
        }
    }
}

impl From<TcpStream> for Transport {
    fn from(stream: TcpStream) -> Self {
        Self::Bare(stream)
    }
}

impl From<TlsStream<TcpStream>> for Transport {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Bare(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
            Self::Upgraded(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Bare(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
            Self::Upgraded(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Bare(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Upgraded(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Bare(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
            Self::Upgraded(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Bare(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
            Self::Upgraded(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Bare(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
            Self::Upgraded(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
