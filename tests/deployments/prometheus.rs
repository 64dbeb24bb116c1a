//! Alerts and dashboard.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use edgeway::adapters::outbound::telemetry::catalogue::{Kind, Metric};
use edgeway::adapters::outbound::telemetry::process;
use serde_json::Value;

use crate::files::{at, list, path, string, text, yaml};

fn promtool() -> PathBuf {
    let fetched = path("../target/tools/promtool");
    if fetched.exists() { fetched } else { "promtool".into() }
}

#[test]
fn promtool_accepts_scraping_alerts_and_their_tests() {
    for (arguments, file) in [
        (["check", "config"], "prometheus/prometheus.yaml"),
        (["check", "rules"], "prometheus/alerts.yaml"),
        (["test", "rules"], "prometheus/alerts.test.yaml"),
    ] {
        let checked = Command::new(promtool()).args(arguments).arg(path(file)).output();
        let checked = checked.expect("promtool is not there: tests/install.sh fetches it");
        assert!(
            checked.status.success(),
            "{file}:\n{}{}",
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr)
        );
    }
}

fn rules() -> Vec<serde_yaml::Value> {
    list(&yaml("prometheus/alerts.yaml"), "groups").iter().flat_map(|group| list(group, "rules")).collect()
}

#[test]
fn every_alert_says_what_is_wrong_and_is_tested_both_ways() {
    let tests = list(&yaml("prometheus/alerts.test.yaml"), "tests");
    let tests: Vec<_> = tests.iter().flat_map(|test| list(test, "alert_rule_test")).collect();
    for rule in rules().iter().filter(|rule| rule.get("alert").is_some()) {
        let name = string(rule, "alert");
        assert!(["critical", "warning"].contains(&&*string(rule, "labels.severity")), "{name}");
        assert!(!string(rule, "annotations.summary").is_empty(), "{name}");
        assert!(!string(rule, "annotations.description").is_empty(), "{name}");
        let own = tests.iter().filter(|test| string(test, "alertname") == name);
        let (fires, silent): (Vec<_>, Vec<_>) = own.partition(|test| test.get("exp_alerts").is_some());
        assert!(!fires.is_empty() && !silent.is_empty(), "{name} is not tested");
    }
}

/// Every name that a node tells, as queries see it.
fn known() -> BTreeSet<String> {
    let own = Metric::ALL.iter().flat_map(|metric| {
        let suffixes: &[&str] =
            if metric.kind() == Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        suffixes.iter().map(|suffix| format!("{}{suffix}", metric.name()))
    });
    own.chain(process::NAMES.map(str::to_owned)).collect()
}

/// The names of metrics in an expression; not those that a rule records.
fn named(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.starts_with("edgeway_") || word.starts_with("process_")).collect()
}

#[test]
fn alerts_ask_for_metrics_that_exist() {
    let known = known();
    let recorded: Vec<_> =
        rules().iter().filter_map(|rule| Some(rule.get("record")?.as_str()?.to_owned())).collect();
    for rule in rules() {
        let expression = string(&rule, "expr");
        let names = named(&expression);
        let records = recorded.iter().any(|name| expression.contains(name.as_str()));
        assert!(!names.is_empty() || records || expression.starts_with("up{"), "{expression}");
        for name in names {
            assert!(known.contains(name), "{name} in {expression}");
        }
    }
}

#[test]
fn the_dashboard_asks_its_source_for_metrics_that_exist_and_leaves_none_out() {
    let dashboard: Value = serde_json::from_str(&text("grafana/dashboards/edgeway.json")).unwrap();
    let provisioned = yaml("grafana/provisioning/datasources/prometheus.yaml");
    let source = string(&provisioned, "datasources.0.uid");
    let known = known();
    let mut ids = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id twice");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], *source, "{title}");
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert!(!named(expression).is_empty(), "{title}: {expression}");
            asked.extend(named(expression).into_iter().map(str::to_owned));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        asked.extend(named(variable["definition"].as_str().unwrap()).into_iter().map(str::to_owned));
    }
    for note in dashboard["annotations"]["list"].as_array().unwrap() {
        asked.extend(named(note["expr"].as_str().unwrap()).into_iter().map(str::to_owned));
    }
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let shown = |metric: &&Metric| asked.iter().any(|name| name.starts_with(metric.name()));
    // Each of these says with other words what is there already.
    let told_otherwise = [Metric::Resumes, Metric::QueueEvents, Metric::JwksFetches];
    let missing: Vec<_> = Metric::ALL.iter().filter(|metric| !shown(metric)).collect();
    assert_eq!(missing, told_otherwise.iter().collect::<Vec<_>>(), "what is not on the dashboard");
}

#[test]
fn the_dashboard_is_found_where_it_is_mounted() {
    let provider = yaml("grafana/provisioning/dashboards/edgeway.yaml");
    let directory = string(&provider, "providers.0.options.path");
    let mounts = list(at(&yaml("docker-compose.yaml"), "services.grafana"), "volumes");
    let mount = format!("./grafana/dashboards:{directory}:ro");
    assert!(mounts.iter().any(|own| own.as_str() == Some(&mount)), "{mounts:?}");
}
