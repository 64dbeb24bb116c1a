//! What is told about what is wrong.

use super::fixture::{LEAST, load, problems};

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
