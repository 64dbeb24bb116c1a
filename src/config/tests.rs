//! Configurations, good and bad, as operators write them.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::env;
use super::error::ConfigError;
use super::file::File;
use super::load::assemble;
use super::raw::{Algorithm, LogFormat};
use super::schema::value_keys;
use super::settings::{Bus, KeySource, Settings};
use super::validate::Mode;

const SHIPPED: &str = include_str!("../../configs/config.yaml");

/// Keys for which the shipped file has an example, since there is no default that could work.
const EXAMPLES: [(&str, &str); 5] = [
    ("auth.jwks_url", "https://id.example.com/jwks.json"),
    ("auth.issuer", "https://id.example.com"),
    ("auth.audience", "edgeway"),
    ("store.endpoint", "http://store:50051"),
    ("bus.url", "redis://redis:6379"),
];

/// The least a production gateway needs.
const LEAST: &str = "\
auth:
  jwks_file: /etc/edgeway/jwks.json
  issuer: https://id.example.com
  audience: edgeway
store: { endpoint: \"http://store:50051\" }
bus: { url: \"redis://redis:6379\" }
";

fn owned(env: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

fn load(yaml: &str, env: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let file = File { name: "config.yaml".to_owned(), text: yaml.to_owned() };
    assemble(Some(file), &[], owned(env), Mode::Production)
}

/// Everything that is wrong, one problem a line.
fn problems(result: Result<Settings, ConfigError>) -> String {
    let problems = result.expect_err("it is not valid").problems;
    assert!(!problems.is_empty());
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn the_shipped_file_is_valid_and_names_every_key_with_its_default() {
    let file = File { name: "config.yaml".to_owned(), text: SHIPPED.to_owned() };
    let mut unknown = Vec::new();
    let named: Vec<_> = file.values(&mut unknown).into_iter().map(|(key, _)| key).collect();
    assert_eq!(unknown, []);
    assert_eq!(named, value_keys());

    let shipped = load(SHIPPED, &[]).unwrap();
    let examples: Vec<_> = EXAMPLES.map(|(key, value)| (env::variable(key), value.to_owned())).into();
    let defaults = Settings::load(None, examples.into_iter()).unwrap();
    assert_eq!(shipped.effective_yaml(), defaults.effective_yaml());
}

#[test]
fn the_example_environment_is_valid() {
    let commented: Vec<_> = include_str!("../../.env.example")
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .filter(|(name, _)| name.starts_with(env::PREFIX))
        .collect();
    assert!(commented.len() > 5);
    load(SHIPPED, &commented).unwrap();
}

#[test]
fn the_least_one_needs_is_enough() {
    let settings = load(LEAST, &[]).unwrap();
    assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.auth.keys, Some(KeySource::JwksFile(PathBuf::from("/etc/edgeway/jwks.json"))));
    assert_eq!(settings.auth.algorithms, Algorithm::DEFAULT);
    assert_eq!(settings.store.endpoints, ["http://store:50051"]);
    assert_eq!(settings.store.check_membership_timeout, Duration::from_millis(500));
    assert_eq!(settings.session.memory_budget, 2 << 30);
    assert_eq!(settings.limits.sends_per_second, 5);
    assert_eq!(settings.tls, None);
    assert!(matches!(&settings.bus, Bus::Redis { prefix, .. } if prefix == "edgeway"));
}

#[test]
fn a_file_is_read_from_its_path() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(LEAST.as_bytes()).unwrap();
    Settings::load(Some(file.path()), owned(&[])).unwrap();

    let missing = problems(Settings::load(Some(&PathBuf::from("/no/such/config.yaml")), owned(&[])));
    assert!(missing.starts_with("/no/such/config.yaml: cannot be read: "), "{missing}");
}

#[test]
fn the_environment_overrides_the_file() {
    let settings = load(
        LEAST,
        &[
            ("EDGEWAY__BUS__URL", "rediss://:s3cret@other:6380/1"),
            ("EDGEWAY__ALLOWED_ORIGINS", "https://a.example, https://b.example"),
            ("EDGEWAY__TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.1"),
            ("EDGEWAY__TRANSPORTS__WS__PING", "10s"),
            ("EDGEWAY__SESSION__QUEUE_BYTES", "1MiB"),
            ("EDGEWAY__LIMITS__SENDS_PER_SECOND", "7"),
            ("EDGEWAY__AUTH__ALLOW_QUERY_TOKEN", "true"),
            ("EDGEWAY__STORE__ENDPOINT", "http://a:1, http://b:2/"),
            ("EDGEWAY_UNRELATED", "x"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    let Bus::Redis { url, .. } = &settings.bus else { panic!("{:?}", settings.bus) };
    assert_eq!(url.expose().expose_secret(), "rediss://:s3cret@other:6380/1");
    assert_eq!(settings.allowed_origins, ["https://a.example", "https://b.example"]);
    let proxies: Vec<_> = settings.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.1/32"]);
    assert_eq!(settings.transports.ws.ping, Duration::from_secs(10));
    assert_eq!(settings.session.queue_bytes, 1 << 20);
    assert_eq!(settings.limits.sends_per_second, 7);
    assert!(settings.auth.allow_query_token);
    assert_eq!(settings.store.endpoints, ["http://a:1", "http://b:2"]);
}

#[test]
fn of_a_variable_that_comes_twice_the_last_counts() {
    let env = [("EDGEWAY__LISTEN", "127.0.0.1:1"), ("EDGEWAY__LISTEN", "127.0.0.1:2")];
    assert_eq!(load(LEAST, &env).unwrap().listen.port(), 2);
}

#[test]
fn an_empty_variable_unsets_what_the_file_sets() {
    let env = [
        ("EDGEWAY__AUTH__JWKS_FILE", ""),
        ("EDGEWAY__AUTH__HMAC_SECRET_FILE", "/run/secrets/hmac"),
        ("EDGEWAY__ALLOWED_ORIGINS", ""),
    ];
    let yaml = format!("{LEAST}\nallowed_origins: [\"https://a.example\"]\n");
    let settings = load(&yaml, &env).unwrap();
    assert_eq!(settings.auth.keys, Some(KeySource::HmacSecretFile(PathBuf::from("/run/secrets/hmac"))));
    assert_eq!(settings.auth.algorithms, [Algorithm::HS256]);
    assert!(settings.allowed_origins.is_empty());
    assert!(settings.effective_yaml().contains("- HS256"));
}

#[test]
fn development_needs_nothing_and_can_be_overridden() {
    let settings = Settings::development(owned(&[])).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert!(matches!(settings.bus, Bus::Memory));
    assert_eq!(settings.auth.keys, None);
    assert_eq!(settings.store.endpoints, Vec::<String>::new());
    assert_eq!(settings.telemetry.log, LogFormat::Text);

    let overridden = [("EDGEWAY__LISTEN", "[::1]:0"), ("EDGEWAY__TRANSPORTS__POLL__WAIT", "1s")];
    let settings = Settings::development(owned(&overridden)).unwrap();
    assert_eq!(settings.listen.to_string(), "[::1]:0");
    assert_eq!(settings.transports.poll.wait, Duration::from_secs(1));
}

#[test]
fn development_serves_this_machine_alone() {
    let told = problems(Settings::development(owned(&[("EDGEWAY__LISTEN", "0.0.0.0:8080")])));
    assert!(told.starts_with("EDGEWAY__LISTEN: listen: development serves this machine alone"), "{told}");
}

#[test]
fn secrets_are_shown_nowhere() {
    let env = [("EDGEWAY__BUS__URL", "redis://me:s3cret@redis:6379?token=s3cret")];
    let settings = load(LEAST, &env).unwrap();
    assert!(!settings.effective_yaml().contains("s3cret"), "{}", settings.effective_yaml());
    assert!(settings.effective_yaml().contains("redis://[redacted]@redis:6379"));
    assert!(!format!("{settings:?}").contains("s3cret"));

    for (variable, url) in [
        ("EDGEWAY__BUS__URL", "redis://:s3cret@"),
        ("EDGEWAY__BUS__URL", "s3cret"),
        ("EDGEWAY__STORE__ENDPOINT", "http://u:s3cret@store:1"),
        ("EDGEWAY__AUTH__JWKS_URL", "https://u:s3cret@id.example.com"),
    ] {
        let told = problems(load(LEAST, &[(variable, url)]));
        assert!(!told.contains("s3cret"), "{told}");
    }
    let told = problems(load("bus: { url: [s3cret] }", &[]));
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn the_effective_configuration_is_itself_one() {
    let settings = load(LEAST, &[("EDGEWAY__DRAIN__DELAY", "90s")]).unwrap();
    let again = load(settings.effective_yaml(), &[]).unwrap();
    assert_eq!(again.effective_yaml(), settings.effective_yaml());
    assert!(again.effective_yaml().contains("delay: 90s"));
}

#[test]
fn a_section_of_which_all_is_commented_out_is_no_problem() {
    load(&format!("{LEAST}limits:\n  # sends_per_second: 5\nlisten: null\n"), &[]).unwrap();
    assert!(Settings::development(owned(&[])).is_ok());
}

/// Lines that are added to a valid file, and what is told about them.
#[test]
fn what_is_wrong_in_a_file_is_told_by_line_key_and_remedy() {
    for (lines, told) in [
        ("lisen: x", "config.yaml:7: lisen: unknown key; did you mean listen?"),
        ("sesion: { queue_events: 1 }", "config.yaml:7: sesion: unknown key; did you mean session?"),
        (
            "transports:\n  ws:\n    pings: 1s",
            "config.yaml:9: transports.ws.pings: unknown key; did you mean transports.ws.ping?",
        ),
        (
            "limits: { frame_bytes: 1KiB }",
            "config.yaml:7: limits.frame_bytes: unknown key; did you mean transports.ws.frame_bytes?",
        ),
        (
            "session: 5",
            "config.yaml:7: session: a section, not a value: its keys are resume_window, record_ttl",
        ),
        ("1: 2", "config.yaml: a key that is not text"),
        ("listen: 8080", "config.yaml:7: listen: invalid type: integer `8080`, expected a string"),
        (
            "listen: \":8080\"",
            "config.yaml:7: listen: expected an IP address and a port, such as 0.0.0.0:8080",
        ),
        ("listen: \"127.0.0.1:9090\"", "admin_listen: must differ from listen"),
        ("advertise: \"10.0.0.7:8080\"", "config.yaml:7: advertise: expected"),
        (
            "advertise: \"http://10.0.0.7:8080/x\"",
            "config.yaml:7: advertise: expected only scheme, host and port",
        ),
        ("tls: { cert_file: a.pem }", "config.yaml:7: tls.cert_file: needs tls.key_file too"),
        ("tls:\n  key_file: a.pem", "config.yaml:8: tls.key_file: needs tls.cert_file too"),
        (
            "allowed_origins: [\"https://a.example/\"]",
            "config.yaml:7: allowed_origins: \"https://a.example/\" is no",
        ),
        (
            "allowed_origins: \"*\"",
            "config.yaml:7: allowed_origins: invalid type: string \"*\", expected a sequence",
        ),
        (
            "trusted_proxies: [\"10.0.0.0/33\"]",
            "config.yaml:7: trusted_proxies: \"10.0.0.0/33\" is no network",
        ),
        (
            "session: { resume_window: 120 }",
            "config.yaml:7: session.resume_window: invalid type: integer `120`",
        ),
        (
            "session: { resume_window: 2 min }",
            "config.yaml:7: session.resume_window: expected a whole number with",
        ),
        ("session: { resume_window: 0s }", "config.yaml:7: session.resume_window: must be at least 1s"),
        (
            "session: { resume_window: 2h, record_ttl: 1h }",
            "config.yaml:7: session.resume_window: must not be longer than session.record_ttl",
        ),
        ("session: { record_ttl: 721h }", "config.yaml:7: session.record_ttl: must be 1s to 720h"),
        ("session: { presence_grace: 11m }", "config.yaml:7: session.presence_grace: must be 0s to 10m"),
        (
            "session: { queue_bytes: 256KB }",
            "config.yaml:7: session.queue_bytes: invalid value: string \"256KB\"",
        ),
        ("session: { queue_bytes: 1B }", "config.yaml:7: session.queue_bytes: must be at least 1KiB"),
        ("session: { queue_events: 0 }", "config.yaml:7: session.queue_events: must be at least 1"),
        ("session: { queue_events: -1 }", "config.yaml:7: session.queue_events: invalid value: integer `-1`"),
        ("session: { queue_events: 99999999999 }", "config.yaml:7: session.queue_events: invalid value"),
        (
            "session: { memory_budget: 1KiB }",
            "config.yaml:7: session.memory_budget: must not be smaller than session.queue_bytes",
        ),
        ("transports: { ws: { ping: 0s } }", "config.yaml:7: transports.ws.ping: must be 100ms to 5m"),
        (
            "transports: { ws: { frame_bytes: 1GiB } }",
            "config.yaml:7: transports.ws.frame_bytes: must be 1KiB to 16MiB",
        ),
        (
            "transports: { sse: { heartbeat: 1h } }",
            "config.yaml:7: transports.sse.heartbeat: must be 100ms to 5m",
        ),
        ("transports: { sse: { rotate: 0s } }", "config.yaml:7: transports.sse.rotate: must be 1s to 24h"),
        ("transports: { poll: { wait: 56s } }", "config.yaml:7: transports.poll.wait: must be 0s to 55s"),
        ("limits: { connections: 0 }", "config.yaml:7: limits.connections: must be at least 1"),
        ("limits: { sends_per_second: 0 }", "config.yaml:7: limits.sends_per_second: must be at least 1"),
        ("drain: { delay: 2h }", "config.yaml:7: drain.delay: must be 0s to 1h"),
        (
            "telemetry: { log: xml }",
            "config.yaml:7: telemetry.log: unknown variant `xml`, expected `json` or `text`",
        ),
        ("telemetry: { level: loud }", "config.yaml:7: telemetry.level: expected error, warn, info"),
        (
            "telemetry: { otlp_endpoint: \"collector:4317\" }",
            "config.yaml:7: telemetry.otlp_endpoint: expected an http",
        ),
        (
            "listen: \"0.0.0.0:1\"\nlisten: \"0.0.0.0:2\"",
            "config.yaml: not valid YAML: duplicate entry with key \"listen\"",
        ),
        ("listen: [", "config.yaml: not valid YAML: "),
    ] {
        let all = problems(load(&format!("{LEAST}{lines}\n"), &[]));
        assert!(
            all.lines().any(|line| line.starts_with(told)),
            "{lines}\n  expected {told}\n  told     {all}"
        );
    }
}

/// Variables that are added to a valid file, and what is told about them.
#[test]
fn what_is_wrong_in_the_environment_is_told_by_variable_key_and_remedy() {
    for (env, told) in [
        (
            &[("EDGEWAY__BUS__URLL", "x")][..],
            "EDGEWAY__BUS__URLL: bus.urll: unknown key; did you mean bus.url, by EDGEWAY__BUS__URL?",
        ),
        (
            &[("EDGEWAY__BUS__Url", "x")],
            "EDGEWAY__BUS__Url: bus.url: unknown key; did you mean bus.url, by EDGEWAY__BUS",
        ),
        (
            &[("EDGEWAY__BUS_URL", "x")],
            "EDGEWAY__BUS_URL: bus_url: unknown key; did you mean bus.url, by EDGEWAY__BUS",
        ),
        (&[("EDGEWAY__", "x")], "EDGEWAY__: unknown key"),
        (&[("EDGEWAY__BUS", "x")], "EDGEWAY__BUS: bus: a section: set its keys, such as EDGEWAY__BUS__KIND"),
        (&[("EDGEWAY__BUS__URL__HOST", "x")], "EDGEWAY__BUS__URL__HOST: bus.url.host: unknown key"),
        (&[("EDGEWAY__LISTEN", "")], "EDGEWAY__LISTEN: listen: expected an IP address and a port"),
        (&[("EDGEWAY__LISTEN", "localhost:1")], "EDGEWAY__LISTEN: listen: expected an IP address and a port"),
        (
            &[("EDGEWAY__DRAIN__DELAY", "5")],
            "EDGEWAY__DRAIN__DELAY: drain.delay: expected a whole number with one of",
        ),
        (
            &[("EDGEWAY__SESSION__QUEUE_EVENTS", "many")],
            "EDGEWAY__SESSION__QUEUE_EVENTS: session.queue_events: expected",
        ),
        (
            &[("EDGEWAY__AUTH__ALLOW_QUERY_TOKEN", "yes")],
            "EDGEWAY__AUTH__ALLOW_QUERY_TOKEN: auth.allow_query_token: exp",
        ),
        (
            &[("EDGEWAY__BUS__KIND", "kafka")],
            "EDGEWAY__BUS__KIND: bus.kind: unknown variant `kafka`, expected `redis`",
        ),
        (&[("EDGEWAY__BUS__URL", "")], "EDGEWAY__BUS__URL: bus.url: must be set when bus.kind is redis"),
        (&[("EDGEWAY__BUS__URL", "http://redis")], "EDGEWAY__BUS__URL: bus.url: expected redis://"),
        (&[("EDGEWAY__BUS__PREFIX", "a{b}")], "EDGEWAY__BUS__PREFIX: bus.prefix: expected 1 to 64 of"),
        (
            &[("EDGEWAY__AUTH__JWKS_FILE", "")],
            "auth: set one of auth.jwks_url, auth.jwks_file, auth.hmac_secret_file",
        ),
        (
            &[("EDGEWAY__AUTH__HMAC_SECRET_FILE", "/s")],
            "EDGEWAY__AUTH__HMAC_SECRET_FILE: auth.hmac_secret_file: auth.jwks_file is set too: exactly one of",
        ),
        (
            &[("EDGEWAY__AUTH__JWKS_URL", "https://id.example/jwks")],
            "config.yaml:2: auth.jwks_file: auth.jwks_url is set too: exactly one of",
        ),
        (
            &[("EDGEWAY__AUTH__JWKS_FILE", ""), ("EDGEWAY__AUTH__JWKS_URL", "http://id.example/jwks")],
            "EDGEWAY__AUTH__JWKS_URL: auth.jwks_url: must be https: http is for this machine alone",
        ),
        (&[("EDGEWAY__AUTH__ISSUER", "")], "EDGEWAY__AUTH__ISSUER: auth.issuer: must be set"),
        (&[("EDGEWAY__AUTH__AUDIENCE", "")], "EDGEWAY__AUTH__AUDIENCE: auth.audience: must be set"),
        (
            &[("EDGEWAY__AUTH__ALGORITHMS", "")],
            "EDGEWAY__AUTH__ALGORITHMS: auth.algorithms: must name at least one",
        ),
        (
            &[("EDGEWAY__AUTH__ALGORITHMS", "none")],
            "EDGEWAY__AUTH__ALGORITHMS: auth.algorithms: unknown variant `none`",
        ),
        (
            &[("EDGEWAY__AUTH__ALGORITHMS", "RS256,HS256")],
            "EDGEWAY__AUTH__ALGORITHMS: auth.algorithms: HS256 needs a shared secret, auth.hmac_secret_file",
        ),
        (
            &[
                ("EDGEWAY__AUTH__JWKS_FILE", ""),
                ("EDGEWAY__AUTH__HMAC_SECRET_FILE", "/s"),
                ("EDGEWAY__AUTH__ALGORITHMS", "HS256,RS256"),
            ],
            "EDGEWAY__AUTH__ALGORITHMS: auth.algorithms: RS256 needs public keys, but auth.hmac_secret_file is set",
        ),
        (&[("EDGEWAY__AUTH__LEEWAY", "1h")], "EDGEWAY__AUTH__LEEWAY: auth.leeway: must be 0s to 5m"),
        (
            &[("EDGEWAY__AUTH__READ_SCOPE", "a b")],
            "EDGEWAY__AUTH__READ_SCOPE: auth.read_scope: expected one scope",
        ),
        (&[("EDGEWAY__AUTH__COOKIE", "token")], "EDGEWAY__AUTH__COOKIE: auth.cookie: needs allowed_origins"),
        (
            &[("EDGEWAY__AUTH__COOKIE", "token"), ("EDGEWAY__ALLOWED_ORIGINS", "*")],
            "EDGEWAY__AUTH__COOKIE: auth.cookie: needs allowed_origins without *",
        ),
        (
            &[("EDGEWAY__AUTH__COOKIE", "a;b"), ("EDGEWAY__ALLOWED_ORIGINS", "https://a.example")],
            "EDGEWAY__AUTH__COOKIE: auth.cookie: expected the name of a cookie",
        ),
        (&[("EDGEWAY__STORE__ENDPOINT", "")], "EDGEWAY__STORE__ENDPOINT: store.endpoint: must be set"),
        (
            &[("EDGEWAY__STORE__ENDPOINT", "store:50051")],
            "EDGEWAY__STORE__ENDPOINT: store.endpoint: expected an http",
        ),
        (
            &[("EDGEWAY__STORE__ENDPOINT", "http://a:1,https://b:1")],
            "EDGEWAY__STORE__ENDPOINT: store.endpoint: must be all http or all https",
        ),
        (
            &[("EDGEWAY__STORE__TLS__CA_FILE", "/ca")],
            "EDGEWAY__STORE__TLS__CA_FILE: store.tls.ca_file: has no effect unless",
        ),
        (
            &[("EDGEWAY__PEERS__CA_FILE", "/ca"), ("EDGEWAY__BUS__KIND", "memory")],
            "EDGEWAY__PEERS__CA_FILE: peers.ca_file: has no effect unless bus.kind is redis",
        ),
        (
            &[("EDGEWAY__STORE__TLS__KEY_FILE", "/k"), ("EDGEWAY__STORE__ENDPOINT", "https://store")],
            "EDGEWAY__STORE__TLS__KEY_FILE: store.tls.key_file: needs store.tls.cert_file too",
        ),
        (
            &[("EDGEWAY__STORE__SEND_ATTEMPT_TIMEOUT", "6s")],
            "EDGEWAY__STORE__SEND_ATTEMPT_TIMEOUT: store.send_attempt_timeout: must not be longer than store.send_t",
        ),
        (
            &[("EDGEWAY__STORE__READ_UPTO_TIMEOUT", "0s")],
            "EDGEWAY__STORE__READ_UPTO_TIMEOUT: store.read_upto_timeout: must be 10ms to 1m",
        ),
    ] {
        let all = problems(load(LEAST, env));
        assert!(
            all.lines().any(|line| line.starts_with(told)),
            "{env:?}\n  expected {told}\n  told     {all}"
        );
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let error = load("lisen: x\ndrain: { delay: 5 }", &[("EDGEWAY__BUS__URLL", "x")]).unwrap_err();
    assert_eq!(error.problems.len(), 3);
    let text = error.to_string();
    assert!(
        text.starts_with("the configuration is not valid, for 3 reasons:\n  config.yaml:1: lisen: "),
        "{text}"
    );
}

#[test]
fn an_empty_configuration_tells_what_production_needs() {
    let told = problems(load("", &[]));
    for key in ["auth: ", "auth.issuer: ", "auth.audience: ", "store.endpoint: ", "bus.url: "] {
        assert!(told.lines().any(|line| line.starts_with(key)), "{key} in {told}");
    }
}
