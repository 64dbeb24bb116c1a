//! TLS: the two protocols behind it, and what is not waited for.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Version};
use http_body_util::Empty;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http2::http2_over;
use super::server::{Client, Server, soon};
use crate::adapters::inbound::listener::config::Config;
use crate::adapters::inbound::listener::tls::{CertificateError, CertificateFiles, Reload, ServerTls};

const NAME: &str = "chat.example.com";
const SHORT: Duration = Duration::from_millis(80);

/// A directory with a certificate, and the listener's view of it.
struct Certificate {
    _directory: TempDir,
    files: CertificateFiles,
    tls: ServerTls,
    issued: CertifiedKey<KeyPair>,
}

impl Certificate {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            cert_file: directory.path().join("cert.pem"),
            key_file: directory.path().join("key.pem"),
        };
        let issued = issue();
        fs::write(&files.cert_file, issued.cert.pem()).unwrap();
        fs::write(&files.key_file, issued.signing_key.serialize_pem()).unwrap();
        let tls = ServerTls::load(files.clone()).unwrap();
        Self { _directory: directory, files, tls, issued }
    }

    fn serve(&self, config: Config) -> Server {
        Server::start_with(config, Some(self.tls.clone()))
    }
}

fn issue() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed([NAME.to_owned()]).unwrap()
}

/// A client that trusts this certificate and no other.
async fn connect(
    server: &Server,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

#[tokio::test]
async fn http1_is_served_with_and_without_alpn() {
    let certificate = Certificate::new();
    let server = certificate.serve(Config::default());
    for protocols in [&["http/1.1"][..], &[]] {
        let stream = connect(&server, certificate.issued.cert.der(), protocols).await.unwrap();
        let mut client = Client(stream);
        client.send("GET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        let answer = client.read_until_closed().await;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn http2_is_preferred_and_chosen_by_alpn() {
    let certificate = Certificate::new();
    let server = certificate.serve(Config::default());
    let stream = connect(&server, certificate.issued.cert.der(), &["http/1.1", "h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = http2_over(stream).await;
    let request = Request::get("https://x/peer").body(Empty::new()).unwrap();
    let answer = soon(client.requests.send_request(request)).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
}

#[tokio::test]
async fn an_upgrade_gets_the_bare_tls_stream_and_what_was_read_ahead() {
    let certificate = Certificate::new();
    let server = certificate.serve(Config::default());
    let stream = connect(&server, certificate.issued.cert.der(), &["http/1.1"]).await.unwrap();
    let mut client = Client(stream);
    client
        .send("GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nread ahead")
        .await;
    client.read_until("\r\n\r\nread ahead").await;
    client.send("and on").await;
    client.read_until("and on").await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_not_waited_for() {
    let certificate = Certificate::new();
    let server = certificate.serve(Config { handshake_timeout: SHORT, ..Config::default() });
    // Nothing; and the beginning of a handshake record (RFC 8446 §5.1).
    for piece in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut client = server.connect().await;
        client.send(piece).await;
        assert!(client.read_until_closed().await.is_empty());
    }
}

#[tokio::test]
async fn plaintext_is_closed_and_the_next_one_served() {
    let certificate = Certificate::new();
    let server = certificate.serve(Config::default());
    let mut client = server.connect().await;
    client.send("GET /peer HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let answer = client.read_until_closed().await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    connect(&server, certificate.issued.cert.der(), &[]).await.unwrap();
}

#[tokio::test]
async fn after_the_handshake_a_silent_peer_is_not_waited_for_either() {
    let certificate = Certificate::new();
    let server = certificate.serve(Config { header_read_timeout: SHORT, ..Config::default() });
    let mut stream = connect(&server, certificate.issued.cert.der(), &[]).await.unwrap();
    let mut answer = Vec::new();
    let _any_end_counts = soon(stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty());
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_bad_one_for_none() {
    let mut certificate = Certificate::new();
    let server = certificate.serve(Config::default());
    let old = std::mem::replace(&mut certificate.issued, issue());
    let Certificate { files, tls, issued: new, .. } = &certificate;
    let open = connect(&server, old.cert.der(), &[]).await.unwrap();
    assert_eq!(tls.reload().unwrap(), Reload::Unchanged);

    // The chain is there before its key, and after it something that is neither.
    fs::write(&files.cert_file, new.cert.pem()).unwrap();
    assert!(matches!(tls.reload(), Err(CertificateError::Unusable(_))));
    connect(&server, old.cert.der(), &[]).await.unwrap();
    fs::write(&files.key_file, "no PEM").unwrap();
    assert!(matches!(tls.reload(), Err(CertificateError::NotPem { what: "private key", .. })));
    assert_eq!(tls.reload().unwrap(), Reload::Unchanged, "it is told once");
    fs::remove_file(&files.key_file).unwrap();
    assert!(matches!(tls.reload(), Err(CertificateError::Unreadable { .. })));
    connect(&server, old.cert.der(), &[]).await.unwrap();

    fs::write(&files.key_file, new.signing_key.serialize_pem()).unwrap();
    assert_eq!(tls.reload().unwrap(), Reload::Replaced);
    connect(&server, new.cert.der(), &[]).await.unwrap();
    assert!(connect(&server, old.cert.der(), &[]).await.is_err(), "the old one is not shown any more");

    // Who was connected stays connected.
    let mut open = Client(open);
    open.send("GET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(open.read_until_closed().await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_certificate_that_can_not_be_used_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let files = CertificateFiles {
        cert_file: directory.path().join("cert.pem"),
        key_file: directory.path().join("key.pem"),
    };
    let error = ServerTls::load(files.clone()).unwrap_err();
    assert!(error.to_string().contains("cert.pem"), "{error}");
    fs::write(&files.cert_file, "-----BEGIN NOTHING-----\n-----END NOTHING-----\n").unwrap();
    fs::write(&files.key_file, issue().signing_key.serialize_pem()).unwrap();
    let error = ServerTls::load(files).unwrap_err();
    assert!(
        error.to_string().contains("no certificate") && error.to_string().contains("cert.pem"),
        "{error}"
    );
}
