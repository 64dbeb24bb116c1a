//! From what is written down to what the program works with.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::ExposeSecret;

use super::check::{Bytes, Check, Mode};
use super::error::ConfigError;
use super::load::Sources;
use super::raw::{Algorithm, BusKind, Limits, RawAuth, RawBus, RawSettings, RawStore, Session, Transports};
use super::settings::{Auth, Bus, CertificateFiles, KeySource, Settings, Store, StoreTls};
use super::text::{
    endpoint, is_cookie_name, is_log_filter, is_origin, is_prefix, is_redis_url, is_scope, jwks_url, web_url,
};

const LEEWAY_MAX: Duration = Duration::from_secs(5 * 60);
const STORE_TIMEOUT_MIN: Duration = Duration::from_millis(10);
const STORE_TIMEOUT_MAX: Duration = Duration::from_secs(60);
const RESUME_WINDOW_MIN: Duration = Duration::from_secs(1);
/// Logs keep their counters for 30 days; an older session could not be told from a newer log.
const RECORD_TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
const PRESENCE_GRACE_MAX: Duration = Duration::from_secs(10 * 60);
const QUEUE_BYTES_MIN: u64 = 1 << 10;
const FRAME_BYTES_MIN: u64 = 1 << 10;
const FRAME_BYTES_MAX: u64 = 16 << 20;
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
/// Above it middleboxes forget the connection.
const HEARTBEAT_MAX: Duration = Duration::from_secs(5 * 60);
const ROTATE_MIN: Duration = Duration::from_secs(1);
const ROTATE_MAX: Duration = Duration::from_secs(24 * 3600);
/// What `wait_ms` is clamped to in the protocol.
const POLL_WAIT_MAX: Duration = Duration::from_secs(55);
const DRAIN_MAX: Duration = Duration::from_secs(3600);

/// Checks everything and tells everything that is wrong.
pub(super) fn validate(mut raw: RawSettings, mode: Mode, sources: &Sources) -> Result<Settings, ConfigError> {
    let mut check = Check { mode, sources, problems: Vec::new() };
    check.addresses(&raw);
    let advertise = raw.advertise.as_deref().and_then(|url| check.parsed("advertise", endpoint(url)));
    let tls = check.certificate("tls", &raw.tls.cert_file, &raw.tls.key_file);
    check.origins(&raw.allowed_origins);
    let trusted_proxies = check.networks(&raw.trusted_proxies);
    let auth = check.auth(&mut raw.auth, &raw.allowed_origins);
    let store = check.store(&raw.store);
    let bus = check.bus(&raw.bus);
    let alone = raw.bus.kind == BusKind::Memory;
    check.that(
        "peers.ca_file",
        raw.peers.ca_file.is_none() || !alone,
        "has no effect unless bus.kind is redis",
    );
    check.session(&raw.session);
    check.transports(&raw.transports);
    check.limits(&raw.limits);
    check.within("drain.delay", raw.drain.delay, Duration::ZERO, DRAIN_MAX);
    check.within("drain.spread", raw.drain.spread, Duration::ZERO, DRAIN_MAX);
    check.that(
        "telemetry.level",
        is_log_filter(&raw.telemetry.level),
        "expected error, warn, info, debug or trace, for parts of the program as in info,hyper=warn",
    );
    if let Some(url) = &raw.telemetry.otlp_endpoint {
        check.parsed("telemetry.otlp_endpoint", web_url(url));
    }
    let effective_yaml = serde_yaml::to_string(&raw)
        .map_err(|error| check.problem("", format!("cannot be written as YAML: {error}")));
    match (auth, bus, effective_yaml) {
        (Some(auth), Some(bus), Ok(effective_yaml)) if check.problems.is_empty() => Ok(Settings {
            listen: raw.listen,
            admin_listen: raw.admin_listen,
            advertise,
            peers: raw.peers,
            tls,
            allowed_origins: raw.allowed_origins,
            trusted_proxies,
            auth,
            store,
            bus,
            session: raw.session,
            transports: raw.transports,
            limits: raw.limits,
            drain: raw.drain,
            telemetry: raw.telemetry,
            effective_yaml,
        }),
        _ => Err(ConfigError { problems: check.problems }),
    }
}

impl Check<'_> {
    fn addresses(&mut self, raw: &RawSettings) {
        if self.mode == Mode::Development {
            let loopback = raw.listen.ip().is_loopback();
            self.that("listen", loopback, "development serves this machine alone: use a loopback address");
        }
        let same = raw.listen == raw.admin_listen && raw.listen.port() != 0;
        self.that("admin_listen", !same, "must differ from listen: operators are not clients");
    }

    fn certificate(
        &mut self,
        section: &str,
        cert_file: &Option<PathBuf>,
        key_file: &Option<PathBuf>,
    ) -> Option<CertificateFiles> {
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => {
                Some(CertificateFiles { cert_file: cert_file.clone(), key_file: key_file.clone() })
            }
            (None, None) => None,
            (cert_file, _) => {
                let (set, missing) =
                    if cert_file.is_some() { ("cert_file", "key_file") } else { ("key_file", "cert_file") };
                self.problem(&format!("{section}.{set}"), format!("needs {section}.{missing} too"));
                None
            }
        }
    }

    fn origins(&mut self, origins: &[String]) {
        for origin in origins.iter().filter(|origin| *origin != "*") {
            let message = format!(
                "{origin:?} is no origin as browsers send it: scheme://host, a port unless it is the scheme's own, \
                 lower case, nothing after it"
            );
            self.that("allowed_origins", is_origin(origin), &message);
        }
    }

    fn networks(&mut self, networks: &[String]) -> Vec<IpNet> {
        let mut parsed = Vec::new();
        for network in networks {
            match network.parse().or_else(|_| network.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) => parsed.push(network),
                Err(_) => self.problem(
                    "trusted_proxies",
                    format!("{network:?} is no network: expected one such as 10.0.0.0/8 or fd00::/8"),
                ),
            }
        }
        parsed
    }

    fn auth(&mut self, raw: &mut RawAuth, allowed_origins: &[String]) -> Option<Auth> {
        let sources = [
            raw.jwks_url.clone().map(|url| ("auth.jwks_url", KeySource::JwksUrl(url))),
            raw.jwks_file.clone().map(|path| ("auth.jwks_file", KeySource::JwksFile(path))),
            raw.hmac_secret_file.clone().map(|p| ("auth.hmac_secret_file", KeySource::HmacSecretFile(p))),
        ];
        let mut set = sources.into_iter().flatten();
        let keys = set.next();
        if let (Some((first, _)), Some((second, _))) = (&keys, set.next()) {
            let one = "exactly one of auth.jwks_url, auth.jwks_file, auth.hmac_secret_file";
            self.problem(second, format!("{first} is set too: {one}; an empty variable unsets a key"));
        } else if keys.is_none() && self.mode == Mode::Production {
            self.problem("auth", "set one of auth.jwks_url, auth.jwks_file, auth.hmac_secret_file");
        }
        let keys = keys.map(|(_, source)| source);
        if let Some(KeySource::JwksUrl(url)) = &keys {
            self.parsed("auth.jwks_url", jwks_url(url));
        }
        let secret = matches!(keys, Some(KeySource::HmacSecretFile(_)));
        // The default is for public keys. Who shares a secret and says no more means the common algorithm.
        if secret && raw.algorithms == Algorithm::DEFAULT {
            raw.algorithms = vec![Algorithm::HS256];
        }
        self.that("auth.algorithms", !raw.algorithms.is_empty(), "must name at least one");
        for algorithm in raw.algorithms.iter().filter(|algorithm| algorithm.is_symmetric() != secret) {
            let message = if secret {
                "needs public keys, but auth.hmac_secret_file is set"
            } else {
                "needs a shared secret, auth.hmac_secret_file"
            };
            self.problem("auth.algorithms", format!("{algorithm:?} {message}"));
        }
        let issuer = self.required("auth.issuer", &raw.issuer);
        let audience = self.required("auth.audience", &raw.audience);
        self.within("auth.leeway", raw.leeway, Duration::ZERO, LEEWAY_MAX);
        for (key, scope) in [("auth.read_scope", &raw.read_scope), ("auth.write_scope", &raw.write_scope)] {
            self.that(
                key,
                is_scope(scope),
                "expected one scope: printable ASCII without space, quote, backslash",
            );
        }
        if let Some(cookie) = &raw.cookie {
            self.that(
                "auth.cookie",
                is_cookie_name(cookie),
                "expected the name of a cookie (RFC 6265 §4.1.1)",
            );
            let listed = !allowed_origins.is_empty() && allowed_origins.iter().all(|origin| origin != "*");
            self.that(
                "auth.cookie",
                listed,
                "needs allowed_origins without *: browsers send cookies along whoever's page asks",
            );
        }
        Some(Auth {
            keys,
            issuer,
            audience,
            algorithms: raw.algorithms.clone(),
            leeway: raw.leeway,
            read_scope: raw.read_scope.clone(),
            write_scope: raw.write_scope.clone(),
            allow_query_token: raw.allow_query_token,
            cookie: raw.cookie.clone(),
        })
    }

    fn store(&mut self, raw: &RawStore) -> Store {
        if self.mode == Mode::Production {
            self.required("store.endpoint", &raw.endpoint);
        }
        let mut endpoints = Vec::new();
        for url in raw.endpoint.iter().flat_map(|urls| urls.split(',')) {
            endpoints.extend(self.parsed("store.endpoint", endpoint(url.trim())));
        }
        let encrypted = endpoints.iter().filter(|url| url.starts_with("https:")).count();
        let mixed = encrypted > 0 && encrypted < endpoints.len();
        self.that("store.endpoint", !mixed, "must be all http or all https");
        for (key, timeout) in [
            ("store.send_timeout", raw.send_timeout),
            ("store.send_attempt_timeout", raw.send_attempt_timeout),
            ("store.read_upto_timeout", raw.read_upto_timeout),
            ("store.check_membership_timeout", raw.check_membership_timeout),
            ("store.query_timeout", raw.query_timeout),
        ] {
            self.within(key, timeout, STORE_TIMEOUT_MIN, STORE_TIMEOUT_MAX);
        }
        let fits = raw.send_attempt_timeout <= raw.send_timeout;
        self.that("store.send_attempt_timeout", fits, "must not be longer than store.send_timeout");
        let tls = StoreTls {
            ca_file: raw.tls.ca_file.clone(),
            identity: self.certificate("store.tls", &raw.tls.cert_file, &raw.tls.key_file),
            server_name: raw.tls.server_name.clone(),
        };
        for (key, set) in [
            ("store.tls.ca_file", tls.ca_file.is_some()),
            ("store.tls.cert_file", tls.identity.is_some()),
            ("store.tls.server_name", tls.server_name.is_some()),
        ] {
            self.that(key, !set || encrypted > 0, "has no effect unless store.endpoint is https");
        }
        Store {
            endpoints,
            send_timeout: raw.send_timeout,
            send_attempt_timeout: raw.send_attempt_timeout,
            read_upto_timeout: raw.read_upto_timeout,
            check_membership_timeout: raw.check_membership_timeout,
            query_timeout: raw.query_timeout,
            tls,
        }
    }

    fn bus(&mut self, raw: &RawBus) -> Option<Bus> {
        self.that("bus.prefix", is_prefix(&raw.prefix), "expected 1 to 64 of A-Z a-z 0-9 _ . : -");
        match (raw.kind, &raw.url) {
            (BusKind::Memory, _) => Some(Bus::Memory),
            (BusKind::Redis, Some(url)) => {
                // The message must not repeat it: it may hold a password.
                self.that(
                    "bus.url",
                    is_redis_url(url.expose().expose_secret()),
                    "expected redis://[user:password@]host:port[/db], or rediss:// with TLS",
                );
                Some(Bus::Redis { url: url.clone(), prefix: raw.prefix.clone() })
            }
            (BusKind::Redis, None) => {
                self.problem("bus.url", "must be set when bus.kind is redis; memory needs none");
                None
            }
        }
    }

    fn session(&mut self, session: &Session) {
        self.within("session.record_ttl", session.record_ttl, RESUME_WINDOW_MIN, RECORD_TTL_MAX);
        self.at_least("session.resume_window", session.resume_window, RESUME_WINDOW_MIN);
        let kept = session.resume_window <= session.record_ttl;
        self.that("session.resume_window", kept, "must not be longer than session.record_ttl");
        self.within("session.presence_grace", session.presence_grace, Duration::ZERO, PRESENCE_GRACE_MAX);
        self.at_least("session.queue_events", session.queue_events, 1);
        self.at_least("session.queue_bytes", Bytes(session.queue_bytes), Bytes(QUEUE_BYTES_MIN));
        let holds_one = session.memory_budget >= session.queue_bytes;
        self.that("session.memory_budget", holds_one, "must not be smaller than session.queue_bytes");
    }

    fn transports(&mut self, transports: &Transports) {
        self.within("transports.ws.ping", transports.ws.ping, HEARTBEAT_MIN, HEARTBEAT_MAX);
        let frame = Bytes(transports.ws.frame_bytes);
        self.within("transports.ws.frame_bytes", frame, Bytes(FRAME_BYTES_MIN), Bytes(FRAME_BYTES_MAX));
        self.within("transports.sse.heartbeat", transports.sse.heartbeat, HEARTBEAT_MIN, HEARTBEAT_MAX);
        self.within("transports.sse.rotate", transports.sse.rotate, ROTATE_MIN, ROTATE_MAX);
        self.within("transports.poll.wait", transports.poll.wait, Duration::ZERO, POLL_WAIT_MAX);
    }

    /// The two `…_max_members` may be 0: off.
    fn limits(&mut self, limits: &Limits) {
        for (key, limit) in [
            ("limits.connections", limits.connections),
            ("limits.sessions_per_user", limits.sessions_per_user),
            ("limits.subscriptions", limits.subscriptions),
            ("limits.connects_per_second_per_ip", limits.connects_per_second_per_ip),
            ("limits.commands_per_second", limits.commands_per_second),
            ("limits.sends_per_second", limits.sends_per_second),
        ] {
            self.at_least(key, limit, 1);
        }
    }
}
