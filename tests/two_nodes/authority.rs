//! Certificates that no system trusts.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority of the test's own, and what it has issued.
pub(crate) struct Authority {
    directory: TempDir,
}

impl Authority {
    /// With a certificate for the loopback address.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Self { directory };
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(authority.file("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        fs::write(authority.file("cert.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(authority.file("key.pem"), key.serialize_pem()).unwrap();
        authority
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn ca_file(&self) -> String {
        self.file("ca.pem").to_str().unwrap().to_owned()
    }
}
