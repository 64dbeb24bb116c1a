//! The numbers behind the metrics: one cell for every series, made at the start. To count is one relaxed addition, in
//! cells that few threads write: several cores that count in the same place would spend more on that than on delivering.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::catalogue::{Kind, Metric};

/// Where a metric's cells lie.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The first of them.
    base: usize,
    /// Series for each value of the first label.
    inner: usize,
    /// All series.
    series: usize,
    /// Cells of one series.
    width: usize,
}

/// Copies of all cells, each written by some of the threads; what counts is their sum.
const COPIES: usize = 8;

thread_local! {
    /// The copy that this thread writes.
    static COPY: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % COPIES
    };
}

/// The cells of all counters and histograms.
pub struct Cells {
    places: Vec<Place>,
    copies: [Vec<AtomicU64>; COPIES],
}

/// What one series of a histogram has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    /// How many durations fell into each bucket and no lower one; the last is the one without a bound.
    pub counts: Vec<u64>,
    /// All durations together, in microseconds.
    pub sum_micros: u64,
}

impl Default for Cells {
    fn default() -> Self {
        let mut cells = 0;
        let place = |metric: &Metric| {
            let sizes: Vec<_> = metric.labels().iter().map(|label| label.values.len()).collect();
            let (inner, series) = (sizes.iter().skip(1).product(), sizes.iter().product());
            let width = match metric.kind() {
                Kind::Counter => 1,
                // The bucket without a bound, and the sum.
                Kind::Histogram => metric.bounds_micros().len() + 2,
                // Nobody counts those: they are asked for.
                Kind::Gauge => 0,
            };
            let place = Place { base: cells, inner, series, width };
            cells += series * width;
            place
        };
        let places = Metric::ALL.iter().map(place).collect();
        Self { places, copies: std::array::from_fn(|_| (0..cells).map(|_| AtomicU64::new(0)).collect()) }
    }
}

impl Cells {
    /// Adds to a counter without labels.
    pub fn add(&self, metric: Metric, by: u64) {
        self.bump(self.places[metric as usize].base, by);
    }

    /// Adds to a counter with one label, whose value has this number.
    pub fn add_one(&self, metric: Metric, value: usize, by: u64) {
        self.bump(self.places[metric as usize].base + value, by);
    }

    /// Adds to a counter with two labels.
    pub fn add_two(&self, metric: Metric, (first, second): (usize, usize), by: u64) {
        let place = &self.places[metric as usize];
        self.bump(place.base + first * place.inner + second, by);
    }

    /// Counts a duration in the series with this number.
    pub fn observe(&self, metric: Metric, series: usize, took: Duration) {
        let bounds = metric.bounds_micros();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let first = self.places[metric as usize].base + series * (bounds.len() + 2);
        self.bump(first + bounds.partition_point(|bound| *bound < micros), 1);
        self.bump(first + bounds.len() + 1, micros);
    }

    /// The values of a metric's cells, series by series.
    #[must_use]
    pub fn counts(&self, metric: Metric) -> Vec<u64> {
        let place = &self.places[metric as usize];
        let cells = place.base..place.base + place.series * place.width;
        cells.map(|cell| self.sum(cell)).collect()
    }

    /// The series of a histogram, in their order.
    #[must_use]
    pub fn buckets(&self, metric: Metric) -> Vec<Buckets> {
        let width = metric.bounds_micros().len() + 2;
        let read = |series: &[u64]| {
            let mut counts = series.to_vec();
            let sum_micros = counts.pop().unwrap_or_default();
            Buckets { counts, sum_micros }
        };
        self.counts(metric).chunks_exact(width).map(read).collect()
    }

    fn sum(&self, cell: usize) -> u64 {
        let read = |copy: &Vec<AtomicU64>| copy.get(cell).map_or(0, |cell| cell.load(Ordering::Relaxed));
        self.copies.iter().map(read).fold(0, u64::wrapping_add)
    }

    fn bump(&self, cell: usize, by: u64) {
        let copy = &self.copies[COPY.with(|copy| *copy)];
        debug_assert!(cell < copy.len());
        // A number out of range would be a mistake of ours: no reason to end a connection for it.
        if let Some(cell) = copy.get(cell) {
            cell.fetch_add(by, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_a_cell_of_its_own() {
        let cells = Cells::default();
        for metric in Metric::ALL.iter().filter(|metric| metric.kind() == Kind::Counter) {
            let sizes: Vec<_> = metric.labels().iter().map(|label| label.values.len()).collect();
            match sizes[..] {
                [] => cells.add(*metric, 1),
                [one] => (0..one).for_each(|value| cells.add_one(*metric, value, 1)),
                [one, two] => (0..one).for_each(|a| (0..two).for_each(|b| cells.add_two(*metric, (a, b), 1))),
                _ => panic!("{metric:?} has more labels than anybody counts with"),
            }
        }
        for metric in Metric::ALL.iter().filter(|metric| metric.kind() == Kind::Counter) {
            assert!(cells.counts(*metric).iter().all(|count| *count == 1), "{metric:?}");
        }
    }

    #[test]
    fn what_all_threads_count_is_added_up() {
        let cells = Cells::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * COPIES {
                scope.spawn(|| cells.observe(Metric::DeliveryLatency, 0, Duration::from_micros(7)));
            }
        });
        let [buckets] = &cells.buckets(Metric::DeliveryLatency)[..] else { panic!("one series") };
        assert_eq!((buckets.counts[0], buckets.sum_micros), (2 * COPIES as u64, 7 * 2 * COPIES as u64));
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let cells = Cells::default();
        let bounds = Metric::DeliveryLatency.bounds_micros();
        for micros in [0, bounds[0], bounds[0] + 1, u64::MAX / 4] {
            cells.observe(Metric::DeliveryLatency, 0, Duration::from_micros(micros));
        }
        let [buckets] = &cells.buckets(Metric::DeliveryLatency)[..] else { panic!("one series") };
        let mut expected = vec![0; bounds.len() + 1];
        (expected[0], expected[1], expected[bounds.len()]) = (2, 1, 1);
        assert_eq!(buckets.counts, expected);
        assert_eq!(buckets.sum_micros, 2 * bounds[0] + 1 + u64::MAX / 4);
    }
}
