//! `edgeway dev`: gateway, embedded bus, reference Store, token issuer and web demo in one process, on loopback.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;

use super::lifecycle::{Lifecycle, StopSignals};
use super::{demo, dev_routes, logging};
use crate::adapters::inbound::http::edge::Edge;
use crate::adapters::inbound::listener;
use crate::adapters::inbound::router;
use crate::adapters::inbound::wire::events::JsonCodec;
use crate::adapters::outbound::auth::config::KeyOrigin;
use crate::adapters::outbound::auth::issuer::TokenIssuer;
use crate::adapters::outbound::auth::tickets::MemoryTickets;
use crate::adapters::outbound::auth::verifier::JwtVerifier;
use crate::adapters::outbound::clock::SystemClock;
use crate::adapters::outbound::memory::bus::{self, MemoryBus};
use crate::adapters::outbound::memory::idempotency::MemoryIdempotency;
use crate::adapters::outbound::memory::presence::MemoryPresence;
use crate::adapters::outbound::memory::records::MemorySessionRecords;
use crate::adapters::outbound::memory::throttle::MemoryTypingThrottle;
use crate::adapters::outbound::store_grpc::client::GrpcMessageStore;
use crate::adapters::outbound::telemetry::metrics::Metrics;
use crate::application::gateway::{Gateway, Ports};
use crate::application::ports::clock::Clock;
use crate::config::settings::Settings;
use crate::reference_store::database::Database;
use crate::reference_store::server::{self, ReferenceStore};

/// The node's name, as `welcome` tells it.
const NODE: &str = "dev";
/// How long connections may take to end once the process is asked to stop.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Runs until it is asked to stop.
///
/// # Errors
/// When something can't be started: a port in use, a database that can't be opened.
pub async fn run(settings: Settings, database: Database) -> anyhow::Result<()> {
    logging::start(&settings.telemetry)?;
    let mut signals = StopSignals::listen()?;
    let life = Lifecycle::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let bus = Arc::new(MemoryBus::new(bus::Config::default(), clock.clone()));

    let store_config = server::Config { database, open: true };
    let store = ReferenceStore::open(&store_config, bus.clone(), clock.clone())?;
    let dialogs = store.dialogs();
    let store_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the Store's port")?;
    let store_address = store_listener.local_addr()?;
    let stop_store = life.soft.clone();
    life.tasks.spawn(async move {
        if let Err(error) = store.serve(store_listener, stop_store).await {
            tracing::error!(%error, "the reference Store has ended");
        }
    });

    let issuer = TokenIssuer::generate(settings.issuer_part(), clock.clone())?;
    let gateway = gateway(&settings, &life, &clock, &bus, store_address, &issuer)?;
    life.tasks.spawn(gateway.clone().keep_in_order(life.soft.clone()));

    let edge = Edge::new(gateway.clone(), settings.edge_part(), life.tasks.clone());
    let routes =
        router::protocol(edge.clone()).merge(dev_routes::routes(edge, issuer, dialogs)).merge(demo::routes());
    let listener = listener::bind::bind(settings.listen)?;
    announce(listener.local_addr()?)?;

    let (soft, hard) = (life.soft.clone(), life.hard.clone());
    let serving = listener::accept::serve(
        listener,
        router::finish(routes),
        settings.listener_part(),
        &life.tasks,
        soft,
        hard,
    );
    tokio::select! {
        () = serving => {}
        () = signals.next() => {}
    }
    tokio::select! {
        () = stop(&gateway, &life) => {}
        // A second signal ends it at once.
        () = signals.next() => {}
    }
    Ok(())
}

async fn stop(gateway: &Gateway, life: &Lifecycle) {
    gateway.send_everybody_away(Duration::ZERO).await;
    life.end(STOP_GRACE).await;
}

fn gateway(
    settings: &Settings,
    life: &Lifecycle,
    clock: &Arc<dyn Clock>,
    bus: &Arc<MemoryBus>,
    store: SocketAddr,
    issuer: &TokenIssuer,
) -> anyhow::Result<Arc<Gateway>> {
    let store = settings.store_part(vec![format!("http://{store}")]);
    let store = Arc::new(GrpcMessageStore::connect_lazy(store, clock.clone())?);
    let (watched, until) = (store.clone(), life.soft.clone());
    life.tasks.spawn(async move { watched.watch_health(until).await });

    let keys = KeyOrigin::Jwks(serde_json::to_string(&issuer.jwks())?);
    let verifier = JwtVerifier::start(settings.auth_part(keys), clock.clone(), &life.tasks, &life.soft)?;
    let ports = Ports {
        store,
        bus: bus.clone(),
        codec: Arc::new(JsonCodec),
        idempotency: Arc::new(MemoryIdempotency::new(clock.clone())),
        presence: Arc::new(MemoryPresence::new()),
        records: Arc::new(MemorySessionRecords::new(settings.records_part(), clock.clone())),
        throttle: Arc::new(MemoryTypingThrottle::new(settings.throttle_part(), clock.clone())),
        auth: Arc::new(verifier),
        tickets: Arc::new(MemoryTickets::new(clock.clone())),
        telemetry: Arc::new(Metrics::new()?),
        clock: clock.clone(),
    };
    Ok(Gateway::new(settings.gateway_part(NODE.to_owned()), ports, life.tasks.clone()))
}

/// The one line on standard output that people (and programs) wait for.
fn announce(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Edgeway is at http://{address}/ (development: open dialogs, tokens for everybody)")?;
    out.flush()?;
    Ok(())
}
