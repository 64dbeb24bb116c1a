//! TLS (RFC 8446), with a certificate that can be exchanged while connections run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha1::{Digest, Sha1};
use tokio_rustls::TlsAcceptor;

/// HTTP/2 as it is called in ALPN (RFC 9113 §3.2).
pub(super) const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// A certificate chain and its private key, PEM. Most issuers put both where others may read them half-written: a pair
/// that doesn't fit is never used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub cert_file: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key_file: PathBuf,
}

/// Why a certificate can't be used. Never tells what is in the files.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file holds no PEM of its kind.
    #[error("no {what} in PEM in {}", path.display())]
    NotPem {
        /// What should be there.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: pem::Error,
    },
    /// Chain and key can't be used, or not together.
    #[error("certificate and key can't be used")]
    Unusable(#[source] rustls::Error),
    /// TLS itself can't be set up.
    #[error("TLS can't be set up")]
    Setup(#[source] rustls::Error),
}

/// What a look at the files came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// They are what they were at the last look.
    Unchanged,
    /// New connections get the new certificate.
    Replaced,
}

/// TLS for a listener. Connections keep the certificate they began with.
#[derive(Clone)]
pub struct ServerTls {
    pub(super) acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

impl ServerTls {
    /// Reads the files and prepares TLS 1.2 and 1.3, with HTTP/2 and HTTP/1.1 by ALPN (RFC 7301).
    ///
    /// # Errors
    /// [`CertificateError`], which names the file.
    pub fn load(files: CertificateFiles) -> Result<Self, CertificateError> {
        let (cert, key) = read_both(&files)?;
        let pair = RwLock::new(parse(&files, &cert, &key)?);
        let seen = Mutex::new(fingerprint(&cert, &key));
        let certificate = Arc::new(Certificate { files, pair, seen });
        let mut config = ServerConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        // Clients that come back, which is what clients here do, skip the signature; nothing is kept for them.
        config.ticketer = Ticketer::new().map_err(CertificateError::Setup)?;
        config.send_tls13_tickets = 1;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificate })
    }

    /// Looks at the files; if they changed and fit together, new connections get the new certificate. Else the old one
    /// stays. What was found wrong once is told once: it is `Unchanged` until the files change again.
    ///
    /// # Errors
    /// [`CertificateError`]: the files have changed into something that can't be used.
    pub fn reload(&self) -> Result<Reload, CertificateError> {
        self.certificate.reload()
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServerTls").field(&self.certificate.files).finish()
    }
}

struct Certificate {
    files: CertificateFiles,
    pair: RwLock<Arc<CertifiedKey>>,
    /// What the files held at the last look. Their contents and not their times: a secret that is mounted may change
    /// within the same second, or by a link that points elsewhere.
    seen: Mutex<Fingerprint>,
}

type Fingerprint = [u8; 20];

impl Certificate {
    fn reload(&self) -> Result<Reload, CertificateError> {
        let (cert, key) = read_both(&self.files)?;
        let fingerprint = fingerprint(&cert, &key);
        if std::mem::replace(&mut *self.seen.lock(), fingerprint) == fingerprint {
            return Ok(Reload::Unchanged);
        }
        *self.pair.write() = parse(&self.files, &cert, &key)?;
        Ok(Reload::Replaced)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair.read().clone())
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificate").field(&self.files).finish()
    }
}

fn parse(files: &CertificateFiles, cert: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, CertificateError> {
    let not_pem = |what, path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::NotPem { what, path, source }
    };
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>();
    let chain = chain.and_then(|chain| (!chain.is_empty()).then_some(chain).ok_or(pem::Error::NoItemsFound));
    let chain = chain.map_err(not_pem("certificate", &files.cert_file))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(not_pem("private key", &files.key_file))?;
    // Refuses a key that is not the certificate's.
    let pair = CertifiedKey::from_der(chain, key, &default_provider());
    pair.map(Arc::new).map_err(CertificateError::Unusable)
}

fn read_both(files: &CertificateFiles) -> Result<(Vec<u8>, Vec<u8>), CertificateError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.to_owned(), source })
    };
    Ok((read(&files.cert_file)?, read(&files.key_file)?))
}

fn fingerprint(cert: &[u8], key: &[u8]) -> Fingerprint {
    let mut digest = Sha1::new().chain_update(cert.len().to_be_bytes());
    digest.update(cert);
    digest.update(key);
    digest.finalize().into()
}
