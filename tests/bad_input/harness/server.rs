//! A process of the real binary, which can't outlive the tests.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rcgen::generate_simple_self_signed;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::line::Line;

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The name in the certificate, and what clients say as `Host`.
pub(crate) const NAME: &str = "edge.test";

/// Ends the server when standard input ends: when this process drops it, exits, or is killed.
const WATCHDOG: &str = r#"
trap "" INT HUP
"$@" </dev/null & server=$!
exec >/dev/null 2>&1
cat
kill -9 "$server"; wait "$server"
"#;

/// Rates that the table does not run into by being quick, and a free admin port. Where everything runs at once, the Store
/// may take its time.
const BASE: [(&str, &str); 6] = [
    ("EDGEWAY__ADMIN_LISTEN", "127.0.0.1:0"),
    ("EDGEWAY__STORE__CHECK_MEMBERSHIP_TIMEOUT", "20s"),
    ("EDGEWAY__STORE__QUERY_TIMEOUT", "20s"),
    ("EDGEWAY__LIMITS__COMMANDS_PER_SECOND", "100000"),
    ("EDGEWAY__LIMITS__SENDS_PER_SECOND", "100000"),
    ("EDGEWAY__LIMITS__CONNECTS_PER_SECOND_PER_IP", "100000"),
];

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    tls: Option<TlsConnector>,
    log: PathBuf,
    _directory: TempDir,
    /// The shell that watches over the server; its standard input is what keeps the server alive.
    _watchdog: Child,
}

/// How a server is started.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// With a certificate of its own.
    pub(crate) tls: bool,
    /// On top of the base.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    /// Files in its directory.
    pub(crate) files: &'a [(&'a str, &'a str)],
    /// `edgeway serve` with this configuration, not `edgeway dev`.
    pub(crate) serve: Option<&'a str>,
}

impl Server {
    pub(crate) fn start(start: &Start<'_>) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let file = |name: &str| directory.path().join(name);
        for (name, text) in start.files {
            fs::write(file(name), text).expect("a file");
        }
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "edgeway-watchdog", env!("CARGO_BIN_EXE_edgeway")]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EDGEWAY"))
        {
            command.env_remove(name);
        }
        command.current_dir(directory.path()).envs(BASE).envs(start.settings.iter().copied());
        match start.serve {
            Some(config) => {
                fs::write(file("config.yaml"), config).expect("a file");
                command.args(["serve", "--config", "config.yaml"]);
                command.env("EDGEWAY__LISTEN", "127.0.0.1:0");
            }
            None => {
                command.args(["dev", "--listen", "127.0.0.1:0"]);
            }
        }
        let tls = start.tls.then(|| {
            let (connector, cert, key) = certificate();
            fs::write(file("cert.pem"), cert).expect("a file");
            fs::write(file("key.pem"), key).expect("a file");
            command.env("EDGEWAY__TLS__CERT_FILE", "cert.pem").env("EDGEWAY__TLS__KEY_FILE", "key.pem");
            connector
        });
        let log = file("stderr.log");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).expect("a file"));
        let mut watchdog = command.spawn().expect("sh runs");
        let address = first_address(&mut watchdog).unwrap_or_else(|| {
            panic!("no address within {START_TIMEOUT:?}:\n{}", fs::read_to_string(&log).unwrap_or_default())
        });
        Self { address, tls, log, _directory: directory, _watchdog: watchdog }
    }

    /// A connection; over TLS with this protocol, if it speaks TLS.
    pub(crate) async fn connect(&self, protocol: &str) -> Line {
        let stream = TcpStream::connect(self.address).await.expect("it accepts connections");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        let Some(tls) = &self.tls else { return Line::new(stream) };
        let mut config = ClientConfig::clone(tls.config());
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from(NAME).expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        Line::new(stream.expect("TLS is spoken"))
    }

    /// A connection without TLS from this address of the machine.
    pub(crate) async fn connect_from(&self, own: [u8; 4]) -> Line {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((own, 0).into()).expect("all of 127.0.0.0/8 is this machine's");
        Line::new(socket.connect(self.address).await.expect("it accepts connections"))
    }

    /// A connection without TLS, whatever it speaks.
    pub(crate) async fn connect_bare(&self) -> Line {
        Line::new(TcpStream::connect(self.address).await.expect("it accepts connections"))
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Lines of its log that tell of a panic.
    pub(crate) fn panics(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).expect("a log");
        log.lines().filter(|line| line.contains("panicked")).map(ToOwned::to_owned).collect()
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

fn certificate() -> (TlsConnector, String, String) {
    let issued = generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::clone(issued.cert.der())).expect("it is one");
    let config = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (TlsConnector::from(Arc::new(config)), issued.cert.pem(), issued.signing_key.serialize_pem())
}

/// The address in the first line, `Edgeway is at http://127.0.0.1:PORT/ …`.
fn first_address(watchdog: &mut Child) -> Option<SocketAddr> {
    let stdout = BufReader::new(watchdog.stdout.take()?);
    let (found, first_line) = sync_channel(1);
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = found.try_send(line);
        }
    });
    let line = first_line.recv_timeout(START_TIMEOUT).ok()?;
    let (_, rest) = line.split_once("://")?;
    rest.split('/').next()?.parse().ok()
}
