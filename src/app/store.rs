//! `edgeway store`: the reference Store alone, with Redis as its event log.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;

use super::lifecycle::{Ending, Lifecycle, StopSignals};
use super::logging;
use crate::adapters::outbound::clock::SystemClock;
use crate::adapters::outbound::redis::bus::{self, RedisBus};
use crate::adapters::outbound::redis::commands::{self, RedisCommands};
use crate::application::ports::clock::Clock;
use crate::config::raw::{LogFormat, Telemetry};
use crate::reference_store::database::Database;
use crate::reference_store::server::{self, ReferenceStore};

/// How long the links to the bus may take to end, after the Store itself.
const LINKS_GRACE: Duration = Duration::from_secs(1);

/// Where the Store keeps, tells and serves.
#[derive(Debug)]
pub struct Config {
    /// Where messages are kept.
    pub database: Database,
    /// Whether every dialog exists and every user is a member of it.
    pub open: bool,
    /// The event bus.
    pub bus: commands::Config,
    /// Where gateways call it. Without TLS or credentials: keep it private.
    pub listen: SocketAddr,
}

/// Runs until it is asked to stop.
///
/// # Errors
/// When something can't be started (a port in use, a database that can't be opened, a URL that names no servers), or a
/// task has ended that must not.
pub async fn run(config: Config) -> anyhow::Result<Ending> {
    let telemetry = Telemetry { log: LogFormat::Text, level: "info".to_owned(), otlp_endpoint: None };
    let mut signals = StopSignals::listen()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    logging::start(&telemetry, &clock)?;
    let (life, links) = (Lifecycle::default(), Lifecycle::default());

    let commands = RedisCommands::start(&config.bus, links.vital(), links.soft.clone())?;
    let bus_config = bus::Config::default();
    let bus =
        RedisBus::start(&config.bus, commands, bus_config, clock.clone(), links.vital(), links.soft.clone())?;
    let store_config = server::Config { database: config.database, open: config.open };
    let store = ReferenceStore::open(&store_config, Arc::new(bus), clock)?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listening on {}", config.listen))?;
    announce(listener.local_addr()?, config.open)?;

    let mut broken = None;
    let mut serving = Box::pin(store.serve(listener, life.soft.clone()));
    tokio::select! {
        served = &mut serving => {
            served.context("the Store has ended")?;
            anyhow::bail!("the Store has ended though nobody told it to");
        }
        _ = signals.next() => life.soft.cancel(),
        task = links.vital().broken() => {
            broken = Some(task);
            life.soft.cancel();
        }
    }
    tokio::select! {
        served = serving => served.context("the Store has ended")?,
        // A second signal ends it at once.
        signal = signals.next() => return Ok(Ending::Abandoned(signal)),
    }
    links.end(LINKS_GRACE).await;
    Ending::without(broken)
}

/// The one line on standard output that people (and programs) wait for.
fn announce(address: SocketAddr, open: bool) -> anyhow::Result<()> {
    let kind = if open { "open dialogs" } else { "members only" };
    let mut out = std::io::stdout().lock();
    writeln!(out, "The Store is at http://{address} ({kind})")?;
    out.flush()?;
    Ok(())
}
