//! Every key with its default, as written down.
//!
//! The field names are the keys, the doc comments what an operator reads about them. What needs no look at other keys
//! is used as it stands; the rest becomes a type of [`settings`](super::settings).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::redact::SecretUrl;
use super::{bytes, duration};

/// All keys.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct RawSettings {
    /// Where clients are served.
    #[config(default = "0.0.0.0:8080", deserialize_with = socket_address)]
    pub listen: SocketAddr,
    /// Where operators are served: health, metrics, profiles. Keep it private.
    #[config(default = "127.0.0.1:9090", deserialize_with = socket_address)]
    pub admin_listen: SocketAddr,
    /// How other nodes reach this one, as a URL. Default: from the address that is listened on.
    pub advertise: Option<String>,
    /// How other nodes are spoken to.
    #[config(nested)]
    pub peers: Peers,
    /// The certificate for clients. With none, TLS ends in front of the gateway.
    #[config(nested)]
    pub tls: RawTls,
    /// Origins of web pages that may connect. `*`: any. Empty: only the page's own host.
    #[config(default = [])]
    pub allowed_origins: Vec<String>,
    /// Networks (CIDR) of proxies whose `X-Forwarded-For` is believed.
    #[config(default = [])]
    pub trusted_proxies: Vec<String>,
    /// Who may come in.
    #[config(nested)]
    pub auth: RawAuth,
    /// The message store.
    #[config(nested)]
    pub store: RawStore,
    /// The bus between nodes.
    #[config(nested)]
    pub bus: RawBus,
    /// Sessions and what they keep.
    #[config(nested)]
    pub session: Session,
    /// The three ways a session travels.
    #[config(nested)]
    pub transports: Transports,
    /// What one user, session or address may do. Rates allow bursts of twice their size and hold per node.
    #[config(nested)]
    pub limits: Limits,
    /// How the gateway leaves.
    #[config(nested)]
    pub drain: Drain,
    /// What it tells about itself.
    #[config(nested)]
    pub telemetry: Telemetry,
}

/// `peers`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct Peers {
    /// For nodes that advertise https: authorities to trust instead of the system's and of this node's own chain, PEM.
    pub ca_file: Option<PathBuf>,
}

/// `tls`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct RawTls {
    /// The certificate chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
}

/// `auth`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct RawAuth {
    /// Where the issuer publishes its keys (RFC 7517): https, or http on this machine.
    pub jwks_url: Option<String>,
    /// The same from a file.
    pub jwks_file: Option<PathBuf>,
    /// A secret shared with the issuer, for HS256, HS384 or HS512; never together with a JWKS.
    pub hmac_secret_file: Option<PathBuf>,
    /// The `iss` a token must carry.
    pub issuer: Option<String>,
    /// What a token's `aud` must contain.
    pub audience: Option<String>,
    /// Algorithms a token may be signed with. With a shared secret the default is HS256.
    #[config(default = ["RS256", "ES256", "EdDSA"])]
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of issuer and gateway may differ.
    #[config(default = "30s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub leeway: Duration,
    /// The scope that allows to attach, subscribe and read history.
    #[config(default = "messages:read")]
    pub read_scope: String,
    /// The scope that allows to send, type and mark as read.
    #[config(default = "messages:write")]
    pub write_scope: String,
    /// Whether `access_token=` in the query is taken. It ends up in the logs of whatever stands in between.
    #[config(default = false)]
    pub allow_query_token: bool,
    /// A cookie that may carry the token. Needs `allowed_origins`.
    pub cookie: Option<String>,
}

/// What a token may be signed with (RFC 7518 §3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA PKCS #1 with SHA-256.
    RS256,
    /// RSA PKCS #1 with SHA-384.
    RS384,
    /// RSA PKCS #1 with SHA-512.
    RS512,
    /// RSA PSS with SHA-256.
    PS256,
    /// RSA PSS with SHA-384.
    PS384,
    /// RSA PSS with SHA-512.
    PS512,
    /// ECDSA on P-256.
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// Ed25519.
    EdDSA,
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
}

impl Algorithm {
    /// What [`RawAuth::algorithms`] is when nothing is said.
    pub const DEFAULT: [Self; 3] = [Self::RS256, Self::ES256, Self::EdDSA];

    /// Whether both sides share a secret.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

/// `store`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct RawStore {
    /// Where it is, as `http://host:port` or `https://host:port`; several with commas in between.
    pub endpoint: Option<String>,
    /// How long a `Send` may take in all, retries included.
    #[config(default = "5s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub send_timeout: Duration,
    /// How long one attempt of a `Send` may take.
    #[config(default = "2s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub send_attempt_timeout: Duration,
    /// How long a `ReadUpto` may take.
    #[config(default = "1s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub read_upto_timeout: Duration,
    /// How long a `CheckMembership` may take.
    #[config(default = "500ms", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub check_membership_timeout: Duration,
    /// How long a `GetHistory` or `ListDialogs` may take.
    #[config(default = "1500ms", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub query_timeout: Duration,
    /// For https endpoints.
    #[config(nested)]
    pub tls: RawStoreTls,
}

/// `store.tls`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct RawStoreTls {
    /// Certificate authorities to trust, PEM, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The gateway's own certificate chain, PEM, where the store asks for one.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
    /// The name the store's certificate carries, if not the endpoint's host.
    pub server_name: Option<String>,
}

/// `bus`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct RawBus {
    /// `redis`, or `memory` for a single node with nothing installed.
    #[config(default = "redis")]
    pub kind: BusKind,
    /// Where Redis is: `redis://[user:password@]host:port[/db]`, `rediss://` with TLS.
    pub url: Option<SecretUrl>,
    /// What all keys and channels begin with.
    #[config(default = "edgeway")]
    pub prefix: String,
}

/// What carries events between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// Redis or Valkey.
    Redis,
    /// This process alone.
    Memory,
}

/// `session`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct Session {
    /// How long a session without a transport keeps its queue.
    #[config(default = "120s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub resume_window: Duration,
    /// How long a session can be rebuilt from the log.
    #[config(default = "24h", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub record_ttl: Duration,
    /// How long a user stays online without a transport.
    #[config(default = "15s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub presence_grace: Duration,
    /// Events one session's queue holds before they are read again from the log.
    #[config(default = 512)]
    pub queue_events: u32,
    /// The same in bytes.
    #[config(default = "256KiB", deserialize_with = bytes::deserialize)]
    #[serde(serialize_with = "bytes::serialize")]
    pub queue_bytes: u64,
    /// What all queues of the node may hold together.
    #[config(default = "2GiB", deserialize_with = bytes::deserialize)]
    #[serde(serialize_with = "bytes::serialize")]
    pub memory_budget: u64,
}

/// `transports`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct Transports {
    /// WebSocket.
    #[config(nested)]
    pub ws: WebSocket,
    /// Server-sent events.
    #[config(nested)]
    pub sse: Sse,
    /// Long-poll.
    #[config(nested)]
    pub poll: Poll,
}

/// `transports.ws`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct WebSocket {
    /// How often a peer is pinged. It is gone when nothing came back 10 s later.
    #[config(default = "25s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub ping: Duration,
    /// The largest frame that is taken from a client.
    #[config(default = "64KiB", deserialize_with = bytes::deserialize)]
    #[serde(serialize_with = "bytes::serialize")]
    pub frame_bytes: u64,
}

/// `transports.sse`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct Sse {
    /// How often an idle stream shows a sign of life.
    #[config(default = "15s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub heartbeat: Duration,
    /// How long a stream lasts before the client is asked to come again, ± 20 %.
    #[config(default = "10m", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub rotate: Duration,
}

/// `transports.poll`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct Poll {
    /// How long a poll waits when the client doesn't say.
    #[config(default = "25s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub wait: Duration,
}

/// `limits`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct Limits {
    /// Connections of this node. Each needs a file descriptor (`ulimit -n`).
    #[config(default = 100_000)]
    pub connections: u32,
    /// Sessions of one user on all nodes, attached or within `resume_window`.
    #[config(default = 20)]
    pub sessions_per_user: u32,
    /// Dialogs one session may subscribe to.
    #[config(default = 1000)]
    pub subscriptions: u32,
    /// New connects of one address.
    #[config(default = 20)]
    pub connects_per_second_per_ip: u32,
    /// Commands of one session.
    #[config(default = 20)]
    pub commands_per_second: u32,
    /// Messages of one session.
    #[config(default = 5)]
    pub sends_per_second: u32,
    /// In larger dialogs nobody sees who is typing.
    #[config(default = 200)]
    pub typing_max_members: u32,
    /// In larger dialogs nobody sees who is here.
    #[config(default = 500)]
    pub presence_max_members: u32,
}

/// `drain`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct Drain {
    /// How long load balancers have to notice that the node is not ready.
    #[config(default = "5s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub delay: Duration,
    /// Over how long clients are sent away after that.
    #[config(default = "25s", deserialize_with = duration::deserialize)]
    #[serde(serialize_with = "duration::serialize")]
    pub spread: Duration,
}

/// `telemetry`.
#[derive(Debug, Clone, confique::Config, Serialize)]
pub struct Telemetry {
    /// `json`, or `text` for people.
    #[config(default = "json")]
    pub log: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`; for parts of the program as in `info,hyper=warn`.
    #[config(default = "info")]
    pub level: String,
    /// Where traces go (OTLP over gRPC), as a URL. With none they go nowhere.
    pub otlp_endpoint: Option<String>,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| serde::de::Error::custom("expected an IP address and a port, such as 0.0.0.0:8080"))
}
