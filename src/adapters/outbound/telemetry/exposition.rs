//! Metrics as text: Prometheus's format 0.0.4.

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Series, MetricFamily, MetricType,
};

use super::catalogue::{Kind, LabelSet, Metric};
use super::cells::{Buckets, Cells};
use super::metrics::Asked;
use super::process::ProcessMetric;

const MICROS_PER_SECOND: f64 = 1e6;

/// Writes everything: what was counted, what was asked, and what the system knows of the process.
pub(super) fn write(
    cells: &Cells,
    asked: &[Asked],
    process: Vec<ProcessMetric>,
) -> Result<String, prometheus::Error> {
    let own = Metric::ALL.iter().filter_map(|metric| {
        let series = series(*metric, cells, &asked[*metric as usize]);
        let kind = metric.kind();
        (!series.is_empty()).then(|| family(metric.name(), metric.help(), kind, series))
    });
    let process = process.into_iter().map(|told| {
        let mut series = Series::default();
        set(&mut series, told.kind, told.value);
        family(told.name, told.help, told.kind, vec![series])
    });
    let families: Vec<_> = own.chain(process).collect();
    TextEncoder::new().encode_to_string(&families)
}

fn series(metric: Metric, cells: &Cells, asked: &Asked) -> Vec<Series> {
    let labels = label_pairs(&metric.labels());
    let labelled = |labels: &Vec<LabelPair>| Series::from_label(labels.clone());
    match metric.kind() {
        Kind::Histogram => {
            let buckets = cells.buckets(metric);
            let each = labels.iter().zip(&buckets).map(|(labels, buckets)| {
                let mut series = labelled(labels);
                series.set_histogram(histogram(metric.bounds_micros(), buckets));
                series
            });
            each.collect()
        }
        // A counter that somebody was asked for is counted elsewhere.
        Kind::Counter if asked.iter().all(Option::is_none) => {
            let counts = cells.counts(metric);
            let each = labels.iter().zip(counts).map(|(labels, count)| {
                let mut series = labelled(labels);
                set(&mut series, Kind::Counter, count as f64);
                series
            });
            each.collect()
        }
        kind => {
            let known = labels.iter().zip(asked).filter_map(|(labels, value)| {
                let mut series = labelled(labels);
                set(&mut series, kind, (*value)?);
                Some(series)
            });
            known.collect()
        }
    }
}

fn set(series: &mut Series, kind: Kind, value: f64) {
    match kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            series.set_counter(counter);
        }
        Kind::Gauge | Kind::Histogram => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            series.set_gauge(gauge);
        }
    }
}

fn histogram(bounds_micros: &[u64], seen: &Buckets) -> Histogram {
    let mut below = 0;
    let buckets = bounds_micros.iter().zip(&seen.counts).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / MICROS_PER_SECOND);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(seen.counts.iter().sum());
    histogram.set_sample_sum(seen.sum_micros as f64 / MICROS_PER_SECOND);
    histogram
}

fn family(name: &str, help: &str, kind: Kind, series: Vec<Series>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(match kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(series);
    family
}

/// Every combination of the labels' values, in the order of the series.
fn label_pairs(labels: &[LabelSet]) -> Vec<Vec<LabelPair>> {
    let mut combinations = vec![Vec::new()];
    for label in labels {
        let extend = |known: &Vec<LabelPair>| {
            let known = known.clone();
            label.values.iter().map(move |value| {
                let mut pair = LabelPair::default();
                pair.set_name(label.name.to_owned());
                pair.set_value((*value).to_owned());
                [known.clone(), vec![pair]].concat()
            })
        };
        combinations = combinations.iter().flat_map(extend).collect();
    }
    // The order among a series' labels says nothing: by name, as most writers have it.
    for combination in &mut combinations {
        combination.sort_by(|a, b| a.name().cmp(b.name()));
    }
    combinations
}
