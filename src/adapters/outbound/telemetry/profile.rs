//! CPU profiles, by looking at the stacks of all threads that run, so many times in a second of CPU time.

use std::time::Duration;

use async_trait::async_trait;
use pprof::{ProfilerGuard, ProfilerGuardBuilder, Report};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::pprof_format;
use crate::application::ports::telemetry::profiler::{ProfileError, ProfileFormat, Profiler};

/// Looks per second of CPU time: not a round number, so that it does not fall into step with what runs every 10 ms.
const LOOKS_PER_SECOND: i32 = 99;
/// Where a look might have to wait for what it interrupts: in the unwinder and the loader. Not `libc`, though other
/// programs leave it out: all that the kernel does for a process is spent in there, most of a gateway's time. A look takes
/// no memory and, with glibc 2.35 or later, none of its locks.
const NOT_LOOKED_AT: [&str; 3] = ["libgcc", "ld-linux", "vdso"];

/// Takes one profile at a time.
#[derive(Debug, Default)]
pub struct CpuProfiler {
    running: Mutex<()>,
}

#[async_trait]
impl Profiler for CpuProfiler {
    async fn profile_cpu(&self, during: Duration, format: ProfileFormat) -> Result<Vec<u8>, ProfileError> {
        let _alone = self.running.try_lock().map_err(|_| ProfileError::Busy)?;
        let looking = ProfilerGuardBuilder::default()
            .frequency(LOOKS_PER_SECOND)
            .blocklist(&NOT_LOOKED_AT)
            .build()
            .map_err(failed)?;
        tokio::time::sleep(during).await;
        // Finding the names of all functions takes a while.
        spawn_blocking(move || write(&looking, format)).await.unwrap_or(Err(ProfileError::Failed))
    }
}

fn write(looking: &ProfilerGuard<'_>, format: ProfileFormat) -> Result<Vec<u8>, ProfileError> {
    let report: Report = looking.report().build().map_err(failed)?;
    match format {
        ProfileFormat::Pprof => Ok(pprof_format::encode(&report)),
        ProfileFormat::Flamegraph => {
            let mut svg = Vec::new();
            report.flamegraph(&mut svg).map_err(failed)?;
            Ok(svg)
        }
    }
}

fn failed(error: pprof::Error) -> ProfileError {
    tracing::warn!(%error, "no CPU profile can be taken");
    ProfileError::Failed
}
