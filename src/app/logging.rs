//! Where log lines go and how they look.

use std::io::stderr;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::raw::{LogFormat, Telemetry};

/// Begins to log to standard error.
///
/// # Errors
/// When the level can't be understood, or somebody logs already.
pub fn start(config: &Telemetry) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.level).context("telemetry.level")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let started = match config.log {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging can't be started: {error}"))
}
