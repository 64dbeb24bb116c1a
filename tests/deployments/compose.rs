//! The image and `docker-compose.yaml`.

use serde_yaml::Value;

use crate::files::{at, check_config, list, path, seconds, string, text, yaml};

fn services() -> Vec<(String, Value)> {
    let compose = yaml("docker-compose.yaml");
    let services = at(&compose, "services").as_mapping().unwrap().clone();
    services.into_iter().map(|(name, service)| (name.as_str().unwrap().to_owned(), service)).collect()
}

#[test]
fn services_name_only_what_there_is() {
    let compose = yaml("docker-compose.yaml");
    let services = services();
    let volumes = at(&compose, "volumes").as_mapping().unwrap();
    for (name, service) in &services {
        let needed: Vec<_> = match service.get("depends_on") {
            Some(Value::Sequence(names)) => names.clone(),
            Some(Value::Mapping(names)) => names.keys().cloned().collect(),
            _ => Vec::new(),
        };
        for needed in needed {
            let there = services.iter().any(|(name, _)| Some(name.as_str()) == needed.as_str());
            assert!(there, "{name} needs {needed:?}");
        }
        for mount in service.get("volumes").and_then(Value::as_sequence).into_iter().flatten() {
            let source = mount.as_str().unwrap().split(':').next().unwrap();
            let there =
                if source.starts_with('.') { path(source).exists() } else { volumes.contains_key(source) };
            assert!(there, "{name} mounts {source}");
        }
    }
}

#[test]
fn every_service_is_confined_and_none_is_reached_from_elsewhere() {
    for (name, service) in services() {
        assert_eq!(at(&service, "read_only"), &Value::Bool(true), "{name}");
        assert_eq!(string(&service, "cap_drop.0"), "ALL", "{name}");
        assert_eq!(string(&service, "security_opt.0"), "no-new-privileges:true", "{name}");
        let image = string(&service, "image");
        assert!(image.contains(':') && !image.ends_with(":latest"), "{name}: {image}");
        for port in service.get("ports").and_then(Value::as_sequence).into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}: {port:?}");
        }
    }
}

#[test]
fn both_gateways_take_their_configuration_and_have_the_time_to_leave() {
    let config = check_config(&text("compose/gateway.yaml"), &[]);
    let leaving = seconds(&config, "drain.delay") + seconds(&config, "drain.spread") + 5;
    let services = services();
    let gateways: Vec<_> = services.iter().filter(|(name, _)| name.starts_with("gateway-")).collect();
    assert_eq!(gateways.len(), 2);
    for (name, gateway) in gateways {
        assert_eq!(&string(gateway, "hostname"), name, "as which the other node finds it");
        assert!(seconds(gateway, "stop_grace_period") >= leaving, "{name}");
        // The proxy deals requests out to all of them, and Prometheus asks them all.
        assert!(text("compose/nginx.conf").contains(&format!("server {name}:8080")), "{name}");
        assert!(text("prometheus/prometheus.yaml").contains(&format!("{name}:9090")), "{name}");
    }
}

#[test]
fn the_proxy_sends_nobody_back_to_where_they_were() {
    let proxy = text("compose/nginx.conf");
    for sticky in ["ip_hash", "hash ", "sticky", "least_conn"] {
        assert!(!proxy.contains(sticky), "{sticky}");
    }
    assert!(proxy.contains("proxy_buffering off;"));
    let opened = proxy.matches('{').count();
    assert_eq!(opened, proxy.matches('}').count());
}

#[test]
fn tokens_are_minted_for_the_issuer_that_the_gateways_know() {
    let config = check_config(&text("compose/gateway.yaml"), &[]);
    let (issuer, audience) = (string(&config, "auth.issuer"), string(&config, "auth.audience"));
    let compose = yaml("docker-compose.yaml");
    let words = |path: &str| -> Vec<String> {
        list(&compose, path).iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    for command in [words("services.keys.command"), words("services.token.entrypoint")] {
        assert!(command.contains(&format!("--issuer={issuer}")), "{command:?}");
        assert!(command.contains(&format!("--audience={audience}")), "{command:?}");
    }
    let jwks = string(&config, "auth.jwks_file");
    assert!(words("services.keys.command").contains(&format!("--jwks-file={jwks}")));
}

#[test]
fn the_image_is_built_as_released_and_runs_as_nobody() {
    let dockerfile = text("Dockerfile");
    let lines: Vec<_> = dockerfile.lines().map(str::trim).collect();
    let bases: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("FROM ")).collect();
    let [build, last] = bases[..] else { panic!("two stages: {bases:?}") };
    assert!(
        build.contains(" AS build") && last.contains("distroless") && last.ends_with(":nonroot"),
        "{bases:?}"
    );
    assert!(bases.iter().all(|base| base.contains(':') && !base.contains(":latest")), "{bases:?}");
    assert!(dockerfile.contains("cargo build --profile dist --locked --bin edgeway"));
    assert!(lines.contains(&"USER 65532:65532") && lines.contains(&"STOPSIGNAL SIGTERM"));
    // The toolchain is the one that the project is built with.
    let toolchain = text("../rust-toolchain.toml");
    let version = build.trim_start_matches("rust:").split('-').next().unwrap();
    assert!(toolchain.contains(&format!("channel = \"{version}")), "{version}");
    // What the manifest names must come along.
    let taken = text("Dockerfile.dockerignore");
    for needed in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "proto", "web-demo", "configs", "benches"] {
        assert!(taken.lines().any(|line| line == format!("!{needed}")), "{needed}");
    }
    assert!(taken.lines().any(|line| line == "*"), "everything else stays out");
}
