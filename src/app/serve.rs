//! `edgeway serve`: a gateway node for production.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio_util::sync::CancellationToken;

use super::backplane::{Backplane, Presentation};
use super::certificate;
use super::lifecycle::{Ending, Lifecycle, StopSignals};
use super::logging;
use super::node::{self, Blueprint, Node};
use crate::adapters::inbound::listener;
use crate::adapters::outbound::clock::SystemClock;
use crate::adapters::outbound::memory::bus::{self, MemoryBus};
use crate::adapters::outbound::redis::commands;
use crate::adapters::outbound::store_grpc::config::{Tls, TlsIdentity};
use crate::application::ports::clock::Clock;
use crate::config::settings::{Bus, Settings, StoreTls};

/// How long the links to the bus may take to end, after everything that uses them.
const LINKS_GRACE: Duration = Duration::from_secs(1);

/// Runs until it is asked to stop.
///
/// # Errors
/// When something can't be started (a port in use, a key file that can't be read), or a task has ended that must not.
pub async fn run(settings: Settings) -> anyhow::Result<Ending> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let records = logging::start(&settings.telemetry, &clock)?;
    let mut signals = StopSignals::listen()?;
    // The links to the bus end last: whatever ends before may still have something to write.
    let (life, links) = (Lifecycle::default(), Lifecycle::default());
    let leaving = CancellationToken::new();

    let tls = certificate::tls(&settings, &life)?;
    let scheme = certificate::scheme(tls.as_ref());
    let listener = listener::bind::bind(settings.listen)?;
    let admin_listener = listener::bind::bind(settings.admin_listen).context("admin_listen")?;
    let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);
    let name = node::node_name()?;
    let advertised = settings.advertise.clone().unwrap_or_else(|| node::advertised(scheme, address));

    let backplane = match &settings.bus {
        Bus::Redis { url, prefix } => {
            let servers =
                commands::Config { prefix: prefix.clone(), ..commands::Config::new(url.expose().clone()) };
            let node = Presentation { name: name.clone(), address: advertised.clone() };
            Backplane::on_redis(&settings, &servers, node, &links, &clock)?
        }
        Bus::Memory => {
            tracing::warn!(
                "bus.kind is memory: no Store can reach this bus, so no message is delivered live"
            );
            let bus = Arc::new(MemoryBus::new(bus::Config::default(), clock.clone()));
            Backplane::in_memory(&settings, &name, bus, &clock)
        }
    };
    let mut store = settings.store_part(settings.store.endpoints.clone());
    store.tls = store_tls(&settings.store.tls)?;
    let keys = settings.keys_part().context("auth: no keys are configured")?;
    let blueprint = Blueprint { settings: &settings, name: name.clone(), backplane, store, keys };
    let mut node = Node::start(blueprint, leaving, &life, &clock)?;
    node.serve_admin(admin_listener);
    node.serve(listener, Router::new(), tls);
    announce(&name, &format!("{scheme}://{address}/"), &advertised, admin_address)?;

    let leave = async {
        node.leave(settings.drain.delay, settings.drain.spread).await;
        links.end(LINKS_GRACE).await;
        records.end().await;
    };
    signals.run([&life, &links], leave).await
}

fn store_tls(files: &StoreTls) -> anyhow::Result<Tls> {
    let identity = match &files.identity {
        Some(identity) => Some(TlsIdentity {
            cert_pem: text_of(&identity.cert_file, "store.tls.cert_file")?,
            key_pem: text_of(&identity.key_file, "store.tls.key_file")?.into(),
        }),
        None => None,
    };
    let ca_pem = files.ca_file.as_deref().map(|path| text_of(path, "store.tls.ca_file")).transpose()?;
    Ok(Tls { ca_pem, server_name: files.server_name.clone(), identity })
}

fn text_of(path: &Path, key: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{key}: {}", path.display()))
}

/// The one line on standard output that people (and programs) wait for.
fn announce(name: &str, url: &str, advertised: &str, admin: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Edgeway is at {url} (node {name}, advertised as {advertised}; admin at http://{admin}/)")?;
    out.flush()?;
    Ok(())
}
