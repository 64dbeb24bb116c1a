//! Whose certificates are another node's.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, pem};

/// Who may have issued the certificate of another node.
pub enum Trust {
    /// Whom the system trusts, and this node's own chain, a PEM file: nodes have one certificate, or one issuer.
    System {
        /// The chain.
        own_chain: Option<PathBuf>,
    },
    /// These and nobody else.
    Only(RootCertStore),
}

impl Trust {
    /// The authorities in this PEM file and nobody else.
    ///
    /// # Errors
    /// The file can't be read, or holds no certificate, or one that can't be an authority's.
    pub fn only(ca_file: &Path) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca_file)? {
            roots.add(certificate.map_err(as_io)?).map_err(io::Error::other)?;
        }
        if roots.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no certificate in PEM"));
        }
        Ok(Self::Only(roots))
    }

    /// All of them, as they are now.
    pub(super) fn roots(&self) -> io::Result<RootCertStore> {
        let own_chain = match self {
            Self::Only(roots) => return Ok(roots.clone()),
            Self::System { own_chain } => own_chain,
        };
        let mut roots = RootCertStore::empty();
        if let Some(path) = own_chain {
            roots.add_parsable_certificates(certificates(path)?.filter_map(Result::ok));
        }
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "root certificates of the system");
        }
        roots.add_parsable_certificates(found.certs);
        Ok(roots)
    }
}

fn certificates(
    path: &Path,
) -> io::Result<impl Iterator<Item = Result<CertificateDer<'static>, pem::Error>>> {
    CertificateDer::pem_file_iter(path).map_err(as_io)
}

fn as_io(error: pem::Error) -> io::Error {
    match error {
        pem::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}
