//! `edgeway dev`: gateway, embedded bus, reference Store, token issuer and web demo in one process, on loopback.

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::backplane::Backplane;
use super::lifecycle::{Ending, Lifecycle, StopSignals};
use super::node::{Blueprint, Node};
use super::{certificate, demo, dev_routes, logging};
use crate::adapters::inbound::listener;
use crate::adapters::outbound::auth::config::KeyOrigin;
use crate::adapters::outbound::auth::issuer::TokenIssuer;
use crate::adapters::outbound::clock::SystemClock;
use crate::adapters::outbound::memory::bus::{self, MemoryBus};
use crate::application::ports::clock::Clock;
use crate::config::settings::Settings;
use crate::reference_store::database::Database;
use crate::reference_store::server::{self, ReferenceStore};

/// The node's name, as `welcome` tells it.
const NODE: &str = "dev";

/// Runs until it is asked to stop.
///
/// # Errors
/// When something can't be started (a port in use, a database that can't be opened), or a task has ended that must not.
pub async fn run(settings: Settings, database: Database) -> anyhow::Result<Ending> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let records = logging::start(&settings.telemetry, &clock)?;
    let mut signals = StopSignals::listen()?;
    let life = Lifecycle::default();
    let bus = Arc::new(MemoryBus::new(bus::Config::default(), clock.clone()));

    let store_config = server::Config { database, open: true };
    let store = ReferenceStore::open(&store_config, bus.clone(), clock.clone())?;
    let dialogs = store.dialogs();
    let store_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the Store's port")?;
    let store_address = store_listener.local_addr()?;
    let stop_store = life.soft.clone();
    life.spawn_vital("the reference Store", async move {
        if let Err(error) = store.serve(store_listener, stop_store).await {
            tracing::error!(%error, "the reference Store has ended");
        }
    });

    let issuer = TokenIssuer::generate(settings.issuer_part(), clock.clone())?;
    let blueprint = Blueprint {
        settings: &settings,
        name: NODE.to_owned(),
        backplane: Backplane::in_memory(&settings, NODE, bus, &clock),
        store: settings.store_part(vec![format!("http://{store_address}")]),
        keys: KeyOrigin::Jwks(serde_json::to_string(&issuer.jwks())?),
    };
    let tls = certificate::tls(&settings, &life)?;
    let listener = listener::bind::bind(settings.listen)?;
    let url = format!("{}://{}/", certificate::scheme(tls.as_ref()), listener.local_addr()?);
    let mut node = Node::start(blueprint, CancellationToken::new(), &life, &clock)?;
    match listener::bind::bind(settings.admin_listen) {
        Ok(admin) => node.serve_admin(admin),
        // Several may run at once, and few who develop look at it.
        Err(error) => tracing::warn!(%error, "no admin listener"),
    }
    let edge = node.edge.clone();
    node.serve(listener, dev_routes::routes(edge, issuer, dialogs).merge(demo::routes()), tls);
    announce(&url)?;

    let leave = async {
        node.leave(Duration::ZERO, Duration::ZERO).await;
        records.end().await;
    };
    signals.run([&life, &life], leave).await
}

/// The one line on standard output that people (and programs) wait for.
fn announce(url: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Edgeway is at {url} (development: open dialogs, tokens for everybody)")?;
    out.flush()?;
    Ok(())
}
