//! What is in force.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::super::env;
use super::super::file::File;
use super::super::raw::{Algorithm, LogFormat};
use super::super::schema::value_keys;
use super::super::settings::{Bus, KeySource, Settings};
use super::fixture::{LEAST, load, owned, problems};

const SHIPPED: &str = include_str!("../../../configs/config.yaml");

/// Keys for which the shipped file has an example, since there is no default that could work.
const EXAMPLES: [(&str, &str); 5] = [
    ("auth.jwks_url", "https://id.example.com/jwks.json"),
    ("auth.issuer", "https://id.example.com"),
    ("auth.audience", "edgeway"),
    ("store.endpoint", "http://store:50051"),
    ("bus.url", "redis://redis:6379"),
];

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
    let commented: Vec<_> = include_str!("../../../.env.example")
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
