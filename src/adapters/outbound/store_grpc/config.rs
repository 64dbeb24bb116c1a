//! Where the Store is, how it is believed, and how long it is waited for.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::retry::{self, Deadline};
use super::{breaker, bulkhead};

/// Most that one answer may hold. The longest page of history has 3.3 MiB: 200 messages of 16 KiB.
pub const REPLY_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Where the Store is, and how long it is waited for.
#[derive(Debug, Clone)]
pub struct Config {
    /// `http://host:port` or `https://host:port`; calls go to them in turn.
    pub endpoints: Vec<String>,
    /// For `https` endpoints.
    pub tls: Tls,
    /// `Send`.
    pub send: Deadline,
    /// `ReadUpto`.
    pub read_upto: Deadline,
    /// `CheckMembership`.
    pub check_membership: Deadline,
    /// `GetHistory` and `ListDialogs`.
    pub list: Deadline,
    /// Longest TCP (and TLS) connect.
    pub connect_timeout: Duration,
    /// How often an HTTP/2 ping asks whether the other side is still there, idle or not.
    pub keepalive_interval: Duration,
    /// How long a ping may go unanswered before the connection is given up.
    pub keepalive_timeout: Duration,
    /// How often `grpc.health.v1` is asked, and how long an answer may take.
    pub health_interval: Duration,
    /// When a call is tried again.
    pub retry: retry::Config,
    /// When calls fail at once.
    pub breaker: breaker::Config,
    /// How many calls are under way at the same time.
    pub bulkhead: bulkhead::Config,
}

impl Config {
    /// The defaults, for one endpoint.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        // An attempt that hangs leaves time for a second one, on another connection.
        let two_attempts = |attempt: Duration| Deadline { attempt, total: attempt * 2 };
        Self {
            endpoints: vec![endpoint.into()],
            tls: Tls::default(),
            send: Deadline { attempt: Duration::from_secs(2), total: Duration::from_secs(5) },
            read_upto: two_attempts(Duration::from_secs(1)),
            check_membership: two_attempts(Duration::from_millis(500)),
            list: two_attempts(Duration::from_millis(1500)),
            connect_timeout: Duration::from_secs(1),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            health_interval: Duration::from_secs(1),
            retry: retry::Config::default(),
            breaker: breaker::Config::default(),
            bulkhead: bulkhead::Config::default(),
        }
    }

    /// How one endpoint is connected to.
    pub(super) fn transport(&self, url: &str) -> Result<Endpoint, InvalidEndpoint> {
        let uri: http::Uri = url.parse().map_err(|_| InvalidEndpoint::Url)?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(InvalidEndpoint::Url),
        };
        if uri.host().is_none_or(str::is_empty) {
            return Err(InvalidEndpoint::Url);
        }
        let endpoint = Endpoint::from(uri)
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(self.keepalive_interval))
            .http2_keep_alive_interval(self.keepalive_interval)
            .keep_alive_timeout(self.keepalive_timeout)
            .keep_alive_while_idle(true);
        if !secure {
            return Ok(endpoint);
        }
        let mut tls = match &self.tls.ca_pem {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some(name) = &self.tls.server_name {
            tls = tls.domain_name(name);
        }
        if let Some(identity) = &self.tls.identity {
            tls = tls.identity(Identity::from_pem(&identity.cert_pem, identity.key_pem.expose_secret()));
        }
        endpoint.tls_config(tls).map_err(InvalidEndpoint::Tls)
    }
}

/// How an `https` endpoint is believed, and how the gateway proves itself to it.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificate authorities, PEM; without them those of the system.
    pub ca_pem: Option<String>,
    /// The name in the Store's certificate, if it isn't the endpoint's host.
    pub server_name: Option<String>,
    /// The gateway's own certificate.
    pub identity: Option<TlsIdentity>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    /// Certificate chain, PEM.
    pub cert_pem: String,
    /// Private key, PEM.
    pub key_pem: SecretString,
}

/// The configuration names no endpoint that could be called.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEndpoint {
    /// There is none at all.
    #[error("store.endpoint is missing")]
    Missing,
    /// It is not `http://host:port` or `https://host:port`.
    #[error("store.endpoint is not an http or https URL with a host")]
    Url,
    /// Certificates or key are not usable.
    #[error("store.tls is not usable: {0}")]
    Tls(#[source] tonic::transport::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_with_a_host_are_endpoints() {
        for bad in ["", "store:50051", "/store", "unix:///tmp/store", "redis://store:1"] {
            assert!(matches!(Config::new(bad).transport(bad), Err(InvalidEndpoint::Url)), "{bad}");
        }
        for good in ["http://store:50051", "http://[::1]:1", "https://store"] {
            assert!(Config::new(good).transport(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let identity = TlsIdentity { cert_pem: "cert".into(), key_pem: "hush".to_owned().into() };
        let config =
            Config { tls: Tls { identity: Some(identity), ..Tls::default() }, ..Config::new("http://s") };
        assert!(!format!("{config:?}").contains("hush"));
    }
}
