//! Where log lines go and how they look.

use std::io::stderr;

use anyhow::Context;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::raw::{LogFormat, Telemetry};

/// Begins to log to standard error.
///
/// # Errors
/// When the level can't be understood, or somebody logs already.
pub fn start(config: &Telemetry) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.level).context("telemetry.level")?.and(filter_fn(is_discreet));
    let lines = fmt::layer().with_writer(stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log {
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
        LogFormat::Text => lines.with_filter(filter).boxed(),
    };
    let started = tracing_subscriber::registry().with(lines).try_init();
    started.map_err(|error| anyhow::anyhow!("logging can't be started: {error}"))
}

/// Whether what is told holds nothing of what clients send. Libraries at their most talkative repeat headers and bodies,
/// so nobody who raises the level to find something out can make them: what this program says itself never does.
fn is_discreet(told: &Metadata<'_>) -> bool {
    told.target().split("::").next() == Some("edgeway") || *told.level() <= Level::DEBUG
}
