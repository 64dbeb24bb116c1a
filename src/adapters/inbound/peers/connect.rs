//! One connection to another node.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use http::uri::Scheme;
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pool::{CONNECTION_WINDOW_BYTES, PING_EVERY, PING_TIMEOUT, STREAM_WINDOW_BYTES};
use super::trust::Trust;
use crate::adapters::inbound::listener::executor::TrackedExecutor;

/// The protocol's name in ALPN (RFC 9113 §3.2).
const ALPN: &[u8] = b"h2";

/// The body of a request: small, and there as a whole, so that it can be sent again.
pub(super) type RequestBody = Full<Bytes>;

/// Makes connections; their tasks end with `stop`.
pub(super) struct Connector {
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    trust: Trust,
    /// Who was trusted last, by what the file of [`Trust`] said.
    tls: Mutex<Option<(Vec<u8>, TlsConnector)>>,
}

impl Connector {
    pub(super) fn new(trust: Trust, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { tasks, stop, trust, tls: Mutex::default() }
    }

    /// Connects to `scheme://host:port`.
    pub(super) async fn connect(&self, address: &Uri) -> io::Result<SendRequest<RequestBody>> {
        let host = address.host().ok_or_else(|| invalid("an address without a host"))?;
        let secure = address.scheme() == Some(&Scheme::HTTPS);
        let port = address.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        if !secure {
            return self.begin(stream).await;
        }
        let tls = self.tls()?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid("not a server's name"))?;
        let stream = tls.connect(name, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(invalid("the node speaks no HTTP/2"));
        }
        self.begin(stream).await
    }

    /// Looked at anew for each connection, of which there are few: certificates are exchanged while nodes run. What can't
    /// be used leaves it as it was.
    fn tls(&self) -> io::Result<TlsConnector> {
        let mut known = self.tls.lock();
        let renewed = self.trust.read().and_then(|file| match &*known {
            Some((same, tls)) if *same == file => Ok((file, tls.clone())),
            _ => connector(self.trust.roots(&file)?).map(|tls| (file, tls)),
        });
        match (renewed, &*known) {
            (Ok((file, tls)), _) => {
                *known = Some((file, tls.clone()));
                Ok(tls)
            }
            (Err(error), Some((_, tls))) => {
                tracing::warn!(%error, "whom to trust as a node can't be read: it stays as it was");
                Ok(tls.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn begin<Io>(&self, io: Io) -> io::Result<SendRequest<RequestBody>>
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = Builder::new(TrackedExecutor(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            // A node that hangs still accepts connections: only this tells. Also while nothing is asked: hyper would
            // look for running requests before the first one has begun, and then not again.
            .keep_alive_while_idle(true)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "the connection to another node ended");
                    }
                }
            }
        });
        Ok(sender)
    }
}

fn connector(roots: RootCertStore) -> io::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
