//! The settings of each part, as that part wants them.

use std::sync::Arc;
use std::time::Duration;

use super::raw::Algorithm;
use super::settings::{KeySource, Settings};
use crate::adapters::inbound::http::client::TrustedProxies;
use crate::adapters::inbound::http::edge;
use crate::adapters::inbound::http::origin::AllowedOrigins;
use crate::adapters::inbound::listener;
use crate::adapters::outbound::auth;
use crate::adapters::outbound::memory::{records, throttle};
use crate::adapters::outbound::store_grpc::config as store_grpc;
use crate::adapters::outbound::store_grpc::retry::Deadline;
use crate::application::gateway;
use crate::application::limits::Rate;
use crate::session::machine;
use crate::session::outbox::OutboxLimits;

/// Least time between two `typing started` of one user in one dialog: the protocol's own figure.
const TYPING_EVERY: Duration = Duration::from_secs(3);
/// How long a `typing started` counts: the protocol's own figure.
const TYPING_EXPIRES: Duration = Duration::from_secs(6);

impl Settings {
    /// For sessions.
    #[must_use]
    pub fn session_part(&self) -> machine::Config {
        machine::Config {
            outbox: OutboxLimits {
                events: usize_of(self.session.queue_events.into()),
                bytes: usize_of(self.session.queue_bytes),
            },
            resume_window: self.session.resume_window,
            presence_grace: self.session.presence_grace,
            subscriptions_max: usize_of(self.limits.subscriptions.into()),
            token_leeway: self.auth.leeway,
            ledger: Arc::default(),
        }
    }

    /// For the use-cases of a node with this name.
    #[must_use]
    pub fn gateway_part(&self, node: String) -> gateway::Config {
        gateway::Config {
            session: Arc::new(self.session_part()),
            node,
            sessions_per_user: usize_of(self.limits.sessions_per_user.into()),
            typing_every: TYPING_EVERY,
            typing_expires: TYPING_EXPIRES,
            typing_max_members: self.limits.typing_max_members.into(),
            presence_max_members: self.limits.presence_max_members.into(),
            connects_rate: Rate { per_second: self.limits.connects_per_second_per_ip },
            commands_rate: Rate { per_second: self.limits.commands_per_second },
            sends_rate: Rate { per_second: self.limits.sends_per_second },
            send_patience: self.store.send_timeout,
            memory_budget_bytes: usize_of(self.session.memory_budget),
        }
    }

    /// For the transports.
    #[must_use]
    pub fn edge_part(&self) -> edge::Config {
        edge::Config {
            allowed_origins: AllowedOrigins { origins: self.allowed_origins.clone() },
            trusted_proxies: TrustedProxies { networks: self.trusted_proxies.clone() },
            allow_query_token: self.auth.allow_query_token,
            cookie: self.auth.cookie.clone(),
            ws_ping: self.transports.ws.ping,
            ws_frame_bytes: u32::try_from(self.transports.ws.frame_bytes).unwrap_or(u32::MAX),
            sse_heartbeat: self.transports.sse.heartbeat,
            sse_rotate: self.transports.sse.rotate,
            poll_wait: self.transports.poll.wait,
        }
    }

    /// Connections of clients at once.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        usize_of(self.limits.connections.into())
    }

    /// The certificate for clients, if there is one.
    #[must_use]
    pub fn tls_part(&self) -> Option<listener::tls::CertificateFiles> {
        self.tls.clone().map(|files| listener::tls::CertificateFiles {
            cert_file: files.cert_file,
            key_file: files.key_file,
        })
    }

    /// For the verifier, with keys from there.
    #[must_use]
    pub fn auth_part(&self, keys: auth::config::KeyOrigin) -> auth::config::Config {
        auth::config::Config {
            algorithms: self.auth.algorithms.iter().copied().map(algorithm_part).collect(),
            issuer: named(&self.auth.issuer),
            audience: named(&self.auth.audience),
            leeway: self.auth.leeway,
            scopes: self.scopes_part(),
            ..auth::config::Config::new(keys)
        }
    }

    /// Where the keys come from; `None` where the process is its own issuer.
    #[must_use]
    pub fn keys_part(&self) -> Option<auth::config::KeyOrigin> {
        self.auth.keys.clone().map(|keys| match keys {
            KeySource::JwksUrl(url) => auth::config::KeyOrigin::JwksUrl(url),
            KeySource::JwksFile(path) => auth::config::KeyOrigin::JwksFile(path),
            KeySource::HmacSecretFile(path) => auth::config::KeyOrigin::HmacSecretFile(path),
        })
    }

    /// What the scopes are called.
    #[must_use]
    pub fn scopes_part(&self) -> auth::config::ScopeNames {
        auth::config::ScopeNames { read: self.auth.read_scope.clone(), write: self.auth.write_scope.clone() }
    }

    /// For an issuer whose tokens this configuration accepts.
    #[must_use]
    pub fn issuer_part(&self) -> auth::issuer::Config {
        auth::issuer::Config {
            issuer: named(&self.auth.issuer),
            audience: named(&self.auth.audience),
            scopes: self.scopes_part(),
        }
    }

    /// For the client of the Store at these endpoints.
    #[must_use]
    pub fn store_part(&self, endpoints: Vec<String>) -> store_grpc::Config {
        let defaults = store_grpc::Config::new(String::new());
        let within = |attempt: Duration, default: Deadline| {
            let total = default.total.mul_f64(attempt.as_secs_f64() / default.attempt.as_secs_f64());
            Deadline { attempt, total }
        };
        store_grpc::Config {
            endpoints,
            send: Deadline { attempt: self.store.send_attempt_timeout, total: self.store.send_timeout },
            read_upto: within(self.store.read_upto_timeout, defaults.read_upto),
            check_membership: within(self.store.check_membership_timeout, defaults.check_membership),
            list: within(self.store.query_timeout, defaults.list),
            ..defaults
        }
    }

    /// For session records in memory.
    #[must_use]
    pub fn records_part(&self) -> records::Config {
        records::Config { ttl: self.session.record_ttl }
    }

    /// For the typing throttle in memory.
    #[must_use]
    pub fn throttle_part(&self) -> throttle::Config {
        throttle::Config { interval: TYPING_EVERY }
    }
}

fn algorithm_part(algorithm: Algorithm) -> auth::config::Algorithm {
    use auth::config::Algorithm as Known;
    match algorithm {
        Algorithm::RS256 => Known::RS256,
        Algorithm::RS384 => Known::RS384,
        Algorithm::RS512 => Known::RS512,
        Algorithm::PS256 => Known::PS256,
        Algorithm::PS384 => Known::PS384,
        Algorithm::PS512 => Known::PS512,
        Algorithm::ES256 => Known::ES256,
        Algorithm::ES384 => Known::ES384,
        Algorithm::EdDSA => Known::EdDSA,
        Algorithm::HS256 => Known::HS256,
        Algorithm::HS384 => Known::HS384,
        Algorithm::HS512 => Known::HS512,
    }
}

fn named(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
