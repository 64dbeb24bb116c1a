//! What the system knows of this process, under the names that all Prometheus clients give it. Linux only: elsewhere
//! nothing is told.

use std::fs;

use super::catalogue::Kind;

/// `USER_HZ`: what the kernel counts CPU time in for `/proc`, on every architecture of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// One metric of the process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessMetric {
    /// Its full name.
    pub name: &'static str,
    /// What it says, in words.
    pub help: &'static str,
    /// How its value behaves.
    pub kind: Kind,
    /// Its value.
    pub value: f64,
}

/// All names that [`read`] may tell.
pub const NAMES: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_open_fds",
    "process_max_fds",
];

/// Asks the system; what it does not tell is left out.
#[must_use]
pub fn read() -> Vec<ProcessMetric> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count() as f64);
    let [cpu, resident, address_space, started, threads, open_fds, max_fds] = NAMES;
    let told = [
        (cpu, "CPU time of user and system, in seconds", Kind::Counter, cpu_seconds(&stat)),
        (resident, "Resident memory", Kind::Gauge, kib_of(&status, "VmRSS:")),
        (address_space, "Virtual memory", Kind::Gauge, kib_of(&status, "VmSize:")),
        (started, "When the process began, in seconds since 1970", Kind::Gauge, started_at(&stat, &system)),
        (threads, "Threads of the operating system", Kind::Gauge, number_of(&status, "Threads:")),
        (open_fds, "Open file descriptors", Kind::Gauge, open.ok()),
        (
            max_fds,
            "Most file descriptors that may be open",
            Kind::Gauge,
            number_of(&limits, "Max open files"),
        ),
    ];
    let known = told
        .into_iter()
        .filter_map(|(name, help, kind, value)| value.map(|value| ProcessMetric { name, help, kind, value }));
    known.collect()
}

/// The first number of the line that begins so.
fn number_of(text: &str, line: &str) -> Option<f64> {
    let rest = text.lines().find_map(|it| it.strip_prefix(line))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn kib_of(text: &str, line: &str) -> Option<f64> {
    number_of(text, line).map(|kib| kib * 1024.0)
}

/// A field of `/proc/self/stat`, numbered from 1 as in proc(5). The second is a name that may hold blanks.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn started_at(stat: &str, system: &str) -> Option<f64> {
    Some(number_of(system, "btime")? + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_blanks_and_parentheses_confuses_nobody() {
        let stat = "17 (a (b) c) S 1 17 17 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 3 0 1000 2000 30 40";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(started_at(stat, "cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_010.0));
        assert_eq!(cpu_seconds("17 (a"), None);
    }

    #[test]
    fn this_process_is_known_by_all_its_names() {
        let told = read();
        let names: Vec<_> = told.iter().map(|metric| metric.name).collect();
        assert_eq!(names, NAMES);
        // A test may take less CPU time than is counted.
        assert!(told.iter().skip(1).all(|metric| metric.value > 0.0), "{told:?}");
    }
}
