//! A strict reader of Prometheus's text format 0.0.4: what it is in doubt about, it refuses.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of a series, by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// One metric with all its series.
#[derive(Debug, Default, Clone)]
pub(crate) struct Family {
    pub(crate) help: String,
    pub(crate) kind: String,
    /// Each with the name it stood under: a histogram's end in `_bucket`, `_sum` and `_count`.
    pub(crate) samples: Vec<(String, Labels, f64)>,
}

/// Reads everything.
///
/// # Panics
/// At the first thing that is wrong, with its line.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line does not end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            assert!(is_name(name), "{line}");
            let family = Family { help: help.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "told twice: {line}");
            name.clone_into(&mut current);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
            assert_eq!(name, current, "not below its help: {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let family = families.get_mut(name).unwrap();
            assert!(family.kind.is_empty() && family.samples.is_empty(), "too late: {line}");
            kind.clone_into(&mut family.kind);
        } else {
            let (name, labels, value) = sample(line);
            let family = families.get_mut(&current).unwrap_or_else(|| panic!("of no metric: {line}"));
            let suffixes: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            let known = suffixes.iter().any(|suffix| name == format!("{current}{suffix}"));
            assert!(known, "not of {current}: {line}");
            assert!(seen.insert((name.clone(), labels.clone())), "told twice: {line}");
            family.samples.push((name, labels, value));
        }
    }
    for (name, family) in &families {
        check(name, family);
    }
    families
}

fn check(name: &str, family: &Family) {
    assert!(!family.kind.is_empty(), "{name} has no type");
    assert!(!family.samples.is_empty(), "{name} has no series");
    let names = |labels: &Labels| labels.keys().cloned().collect::<Vec<_>>();
    match &*family.kind {
        "counter" => {
            assert!(name.ends_with("_total"), "{name}");
            assert!(family.samples.iter().all(|(_, _, value)| *value >= 0.0), "{name}");
        }
        "histogram" => check_histogram(name, family),
        _ => {}
    }
    if family.kind != "histogram" {
        let first = names(&family.samples[0].1);
        assert!(family.samples.iter().all(|(_, labels, _)| names(labels) == first), "{name}: labels differ");
    }
}

#[derive(Default)]
struct Histogram {
    /// Bound and count.
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<Labels, Histogram> = BTreeMap::new();
    for (full, labels, value) in &family.samples {
        let mut labels = labels.clone();
        let bound = labels.remove("le");
        let Histogram { buckets, sum, count } = series.entry(labels).or_default();
        match (full.strip_prefix(name).unwrap(), bound) {
            ("_bucket", Some(bound)) => buckets.push((number(&bound), *value)),
            ("_sum", None) => *sum = Some(*value),
            ("_count", None) => *count = Some(*value),
            _ => panic!("{full} with or without le"),
        }
    }
    for (labels, Histogram { buckets, sum, count }) in series {
        assert!(sum.is_some(), "{name}{labels:?} has no sum");
        let rises = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        assert!(rises, "{name}{labels:?}: {buckets:?}");
        let (bound, all) = *buckets.last().unwrap();
        assert!(bound.is_infinite() && Some(all) == count, "{name}{labels:?}: {buckets:?}, {count:?}");
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => {
            let (labels, value) =
                rest.rsplit_once("} ").unwrap_or_else(|| panic!("labels don't end: {line}"));
            (read_labels(labels, line), value)
        }
        None => (Labels::new(), &rest[1..]),
    };
    (name.to_owned(), labels, number(value))
}

fn read_labels(text: &str, line: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no value: {line}"));
        assert!(is_name(name) && !name.contains(':'), "{line}");
        let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("a value does not end: {line}"));
        // No value of ours needs an escape: one would be somebody's input.
        assert!(!value.contains(['\\', '\n']), "{line}");
        assert!(labels.insert(name.to_owned(), value.to_owned()).is_none(), "a label twice: {line}");
        rest = match after.strip_prefix(',') {
            Some(more) => {
                assert!(!more.is_empty(), "a comma too many: {line}");
                more
            }
            None => after,
        };
    }
    labels
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        text => {
            let number: f64 = text.parse().unwrap_or_else(|_| panic!("not a number: {text}"));
            assert!(number.is_finite(), "{text}");
            number
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

#[test]
fn what_is_not_the_format_is_refused() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n";
    assert_eq!(parse(good)["a_total"].samples.len(), 1);
    for bad in [
        "a_total 1\n",
        "# HELP a_total A.\na_total 1\n",
        "# HELP a_total A.\n# TYPE a_total counter\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total 1",
        "# HELP a_total A.\n# TYPE a_total counter\na_total one\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total -1\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total 1\na_total 2\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\",} 2\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\",b=\"d\"} 2\n",
        "# HELP a_total A.\n# TYPE a_total counter\nb_total 2\n",
        "# HELP a A.\n# TYPE a counter\na 1\n",
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
    ] {
        assert!(std::panic::catch_unwind(|| parse(bad)).is_err(), "{bad}");
    }
}
