//! The catalogue of metrics in the documentation is the one in the code.

use std::fs;
use std::path::Path;

use edgeway::adapters::outbound::telemetry::catalogue::Metric;
use edgeway::adapters::outbound::telemetry::process;

/// A row: name, kind, labels.
type Row = (String, String, String);

/// The rows of the table in `docs/operations.md`.
fn documented() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = fs::read_to_string(path).unwrap();
    let cell = |text: &str| text.trim().replace('`', "");
    let rows = text.lines().filter(|line| line.starts_with("| `edgeway_") || line.starts_with("| `process_"));
    rows.map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(cell).collect();
        assert_eq!(cells.len(), 4, "{line}");
        assert!(!cells[3].is_empty(), "{line} says nothing");
        (cells[0].clone(), cells[1].clone(), cells[2].clone())
    })
    .collect()
}

fn known() -> Vec<Row> {
    let own = Metric::ALL.iter().map(|metric| {
        let labels: Vec<_> = metric.labels().iter().map(|label| label.name).collect();
        (metric.name().to_owned(), metric.kind().as_str().to_owned(), labels.join(", "))
    });
    let process = process::NAMES.map(|name| {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        (name.to_owned(), kind.to_owned(), String::new())
    });
    own.chain(process).collect()
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exists() {
    let (documented, known) = (documented(), known());
    let missing: Vec<_> = known.iter().filter(|row| !documented.contains(row)).collect();
    let unknown: Vec<_> = documented.iter().filter(|row| !known.contains(row)).collect();
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:#?}");
    assert!(unknown.is_empty(), "in docs/operations.md alone: {unknown:#?}");
    assert_eq!(documented.len(), known.len(), "a metric is documented twice");
}

#[test]
fn names_and_labels_are_what_prometheus_takes() {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    for metric in Metric::ALL {
        let name = metric.name();
        assert!(is_name(name) && name.starts_with("edgeway_"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind().as_str() == "counter", "{name}");
        for label in metric.labels() {
            assert!(is_name(label.name) && label.name != "le", "{name}: {}", label.name);
            assert!((1..=40).contains(&label.values.len()), "{name}: so many values of {}", label.name);
        }
    }
}
