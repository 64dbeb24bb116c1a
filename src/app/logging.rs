//! Where log lines go and how they look; and where traces go.

use std::io::stderr;
use std::sync::Arc;

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::adapters::outbound::telemetry::traces::Traces;
use crate::application::ports::clock::Clock;
use crate::config::raw::{LogFormat, Telemetry};

/// What must be told when the process ends.
#[derive(Debug)]
pub struct Records {
    traces: Option<Traces>,
}

impl Records {
    /// Sends the traces that still wait: it takes some seconds at most.
    pub async fn end(self) {
        if let Some(traces) = self.traces {
            // A panic in there is nothing to die of on the way out.
            let _ = tokio::task::spawn_blocking(move || traces.end()).await;
        }
    }
}

/// Begins to log to standard error, and to send traces if they are to go somewhere.
///
/// # Errors
/// When level or endpoint can't be understood, or somebody logs already.
pub fn start(config: &Telemetry, clock: &Arc<dyn Clock>) -> anyhow::Result<Records> {
    let filter = filter(&config.level)?;
    let lines = fmt::layer().with_writer(stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log {
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
        LogFormat::Text => lines.with_filter(filter).boxed(),
    };
    let endpoint = config.otlp_endpoint.as_deref();
    let traces = endpoint.map(|endpoint| Traces::start(endpoint, clock.clone())).transpose();
    let traces = traces.context("telemetry.otlp_endpoint")?;
    let spans = traces.as_ref().map(|traces| {
        let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer()).with_location(false);
        layer.with_filter(filter_fn(is_own_span).with_max_level_hint(LevelFilter::DEBUG))
    });
    let started = tracing_subscriber::registry().with(lines).with(spans).try_init();
    started.map_err(|error| anyhow::anyhow!("logging can't be started: {error}"))?;
    Ok(Records { traces })
}

/// What is logged. With a hint of the level from both halves: if one had none, every span and line of any level would be
/// made and looked at.
fn filter(level: &str) -> anyhow::Result<impl Filter<Registry> + Send + Sync + use<>> {
    let level = EnvFilter::try_new(level).context("telemetry.level")?;
    Ok(level.and(filter_fn(is_discreet).with_max_level_hint(LevelFilter::TRACE)))
}

/// Whether what is told holds nothing of what clients send. Libraries at their most talkative repeat headers and bodies,
/// so nobody who raises the level to find something out can make them: what this program says itself never does.
fn is_discreet(told: &Metadata<'_>) -> bool {
    is_own(told) || *told.level() <= Level::DEBUG
}

/// Whether it belongs into a trace.
fn is_own_span(told: &Metadata<'_>) -> bool {
    told.is_span() && is_own(told)
}

fn is_own(told: &Metadata<'_>) -> bool {
    told.target().split("::").next() == Some("edgeway")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_level_leaves_out_is_not_even_made() {
        for (level, most) in [("info", LevelFilter::INFO), ("warn,edgeway=debug", LevelFilter::DEBUG)] {
            assert_eq!(filter(level).unwrap().max_level_hint(), Some(most), "{level}");
        }
    }
}
