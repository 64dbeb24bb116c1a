//! The configuration once it is valid. Sections that mean what they say are those of [`raw`](super::raw).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::raw::{Algorithm, Drain, Limits, Peers, Session, Telemetry, Transports};
use super::redact::SecretUrl;

/// A whole, valid configuration. Showing it (`Debug`) shows no secret.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients are served. Loopback in development.
    pub listen: SocketAddr,
    /// Where operators are served. Never the same as `listen`.
    pub admin_listen: SocketAddr,
    /// How other nodes reach this one: `http(s)://host[:port]` without a slash at the end. `None`: from the address
    /// that is really listened on, which only the one who listens knows.
    pub advertise: Option<String>,
    /// How other nodes are spoken to.
    pub peers: Peers,
    /// TLS for clients.
    pub tls: Option<CertificateFiles>,
    /// Origins that may connect, as browsers write them, or `*`. Empty: the page's own host.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may come in.
    pub auth: Auth,
    /// The message store.
    pub store: Store,
    /// The bus.
    pub bus: Bus,
    /// Sessions.
    pub session: Session,
    /// Transports.
    pub transports: Transports,
    /// Limits.
    pub limits: Limits,
    /// How to leave.
    pub drain: Drain,
    /// Logs and traces.
    pub telemetry: Telemetry,
    pub(super) effective_yaml: String,
}

impl Settings {
    /// The effective configuration as YAML: every key, defaults included, secrets redacted.
    pub fn effective_yaml(&self) -> &str {
        &self.effective_yaml
    }
}

/// A certificate chain and its key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// Who may come in.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Where keys come from. `None` only in development, where the process is its own issuer.
    pub keys: Option<KeySource>,
    /// The `iss` a token must carry.
    pub issuer: String,
    /// What its `aud` must contain.
    pub audience: String,
    /// What it may be signed with. All symmetric with a shared secret, else none. Never empty.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The scope to attach, subscribe and read history.
    pub read_scope: String,
    /// The scope to send, type and mark as read.
    pub write_scope: String,
    /// Whether a token in the query is taken.
    pub allow_query_token: bool,
    /// The cookie that may carry a token. Then `allowed_origins` is a list without `*`.
    pub cookie: Option<String>,
}

/// Where keys come from: one place, so that a shared secret never stands beside public keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A JWK set: https, or http on this machine.
    JwksUrl(String),
    /// A JWK set in a file.
    JwksFile(PathBuf),
    /// A shared secret in a file.
    HmacSecretFile(PathBuf),
}

/// The message store.
#[derive(Debug, Clone)]
pub struct Store {
    /// `http(s)://host[:port]` without a slash at the end, all of one scheme. Empty only in development, where the
    /// process has its own store.
    pub endpoints: Vec<String>,
    /// `Send` in all.
    pub send_timeout: Duration,
    /// One attempt of `Send`. Not longer than all.
    pub send_attempt_timeout: Duration,
    /// `ReadUpto`.
    pub read_upto_timeout: Duration,
    /// `CheckMembership`.
    pub check_membership_timeout: Duration,
    /// `GetHistory` and `ListDialogs`.
    pub query_timeout: Duration,
    /// For https endpoints.
    pub tls: StoreTls,
}

/// TLS towards the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreTls {
    /// Authorities to trust, PEM, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The gateway's own certificate.
    pub identity: Option<CertificateFiles>,
    /// The name in the store's certificate, if not the endpoint's host.
    pub server_name: Option<String>,
}

/// What carries events between nodes.
#[derive(Debug, Clone)]
pub enum Bus {
    /// This process alone.
    Memory,
    /// Redis or Valkey.
    Redis {
        /// Where, and as whom.
        url: SecretUrl,
        /// What keys and channels begin with.
        prefix: String,
    },
}
