//! Whose certificates are another node's.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// Who may have issued the certificate of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Whom the system trusts, and this node's own chain, a PEM file: nodes have one certificate, or one issuer.
    System {
        /// The chain.
        own_chain: Option<PathBuf>,
    },
    /// The authorities in this PEM file and nobody else.
    Only {
        /// Where they are.
        ca_file: PathBuf,
    },
}

impl Trust {
    /// The authorities in this PEM file and nobody else. They may be exchanged later.
    ///
    /// # Errors
    /// The file can't be read, or holds no certificate, or one that can't be an authority's.
    pub fn only(ca_file: &Path) -> io::Result<Self> {
        let trust = Self::Only { ca_file: ca_file.to_owned() };
        trust.roots(&trust.read()?)?;
        Ok(trust)
    }

    /// What its file says now; nothing if it has none.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::System { own_chain: Some(path) } | Self::Only { ca_file: path } => std::fs::read(path),
            Self::System { own_chain: None } => Ok(Vec::new()),
        }
    }

    /// All who are trusted, of whom the file says this.
    pub(super) fn roots(&self, file: &[u8]) -> io::Result<RootCertStore> {
        let certificates = CertificateDer::pem_slice_iter(file);
        let mut roots = RootCertStore::empty();
        match self {
            Self::Only { .. } => {
                for certificate in certificates {
                    roots.add(certificate.map_err(invalid)?).map_err(io::Error::other)?;
                }
                if roots.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "no certificate in PEM"));
                }
            }
            Self::System { .. } => {
                roots.add_parsable_certificates(certificates.filter_map(Result::ok));
                let found = rustls_native_certs::load_native_certs();
                for error in &found.errors {
                    tracing::warn!(%error, "root certificates of the system");
                }
                roots.add_parsable_certificates(found.certs);
            }
        }
        Ok(roots)
    }
}

fn invalid(error: pem::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
