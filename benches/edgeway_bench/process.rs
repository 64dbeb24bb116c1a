//! What a process has used, as the kernel counts it.

use std::time::Duration;

use anyhow::Context;

/// `sysconf(_SC_CLK_TCK)` on every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time, user and system, of all threads.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the server is gone")?;
    // The name, in parentheses, may hold anything; after it come numbers.
    let numbers = stat.rsplit_once(')').map(|(_, rest)| rest).context("an odd /proc/PID/stat")?;
    let mut fields = numbers.split_whitespace().skip(11);
    let mut next =
        || fields.next().and_then(|text| text.parse::<f64>().ok()).context("an odd /proc/PID/stat");
    let ticks = next()? + next()?;
    Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}

/// Memory of the process in bytes, with its part of what it shares.
pub(crate) fn pss_bytes(pid: u32) -> anyhow::Result<u64> {
    let rollup =
        std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("the server is gone")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}

/// Raises the limit of open files as far as it goes; children inherit it.
pub(crate) fn raise_file_limit() -> anyhow::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })
        .context("raising the limit of open files")?;
    Ok(now.maximum.unwrap_or(u64::MAX))
}
