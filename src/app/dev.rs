//! `edgeway dev`: gateway, embedded bus, reference Store, token issuer and web demo in one process, on loopback.

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::backplane::Backplane;
use super::dev_node::{self, Surroundings, death};
use super::dev_routes::Development;
use super::lifecycle::{Ending, Lifecycle, StopSignals};
use super::{certificate, logging};
use crate::adapters::inbound::listener;
use crate::adapters::outbound::auth::issuer::TokenIssuer;
use crate::adapters::outbound::clock::SystemClock;
use crate::adapters::outbound::memory::bus::{self, MemoryBus};
use crate::application::ports::clock::Clock;
use crate::config::settings::Settings;
use crate::reference_store::database::Database;
use crate::reference_store::server::{self, ReferenceStore};

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
    let tls = certificate::tls(&settings, &life)?;
    let listener = listener::bind::bind(settings.listen)?.into_std()?;
    let url = format!("{}://{}/", certificate::scheme(tls.as_ref()), listener.local_addr()?);
    let admin = match listener::bind::bind(settings.admin_listen) {
        Ok(admin) => Some(admin.into_std()?),
        Err(error) => {
            // Several may run at once, and few who develop look at it.
            tracing::warn!(%error, "no admin listener");
            None
        }
    };
    let death_wanted = Arc::new(Notify::new());
    let surroundings = Surroundings {
        settings: &settings,
        backplane: Backplane::in_memory(&settings, &dev_node::name(1), bus, &clock),
        store: format!("http://{store_address}"),
        keys: serde_json::to_string(&issuer.jwks())?,
        development: Arc::new(Development { issuer, dialogs, death_wanted: death_wanted.clone() }),
        listener,
        tls,
        admin,
        clock,
    };
    let mut number = 1;
    let mut mortal = surroundings.bring_up(number)?;
    announce(&url)?;
    let ending = loop {
        let leave = mortal.node.leave(Duration::ZERO, Duration::ZERO);
        tokio::select! {
            ending = signals.run([&life, &mortal.life], leave) => break ending,
            () = death(&death_wanted) => {}
        }
        tracing::warn!(node = number, "the node is killed; another one takes its place");
        drop(mortal);
        number += 1;
        mortal = surroundings.bring_up(number)?;
    };
    records.end().await;
    ending
}

/// The one line on standard output that people (and programs) wait for.
fn announce(url: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Edgeway is at {url} (development: open dialogs, tokens for everybody)")?;
    out.flush()?;
    Ok(())
}
