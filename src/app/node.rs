//! A gateway node, as `dev` and `serve` both run it: put together, served, and taken down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::backplane::Backplane;
use super::lifecycle::Lifecycle;
use crate::adapters::inbound::admin::check::Check;
use crate::adapters::inbound::admin::routes::{self, Admin};
use crate::adapters::inbound::http::edge::Edge;
use crate::adapters::inbound::listener::accept::{self, Terms};
use crate::adapters::inbound::listener::config::Config;
use crate::adapters::inbound::listener::slot::Slots;
use crate::adapters::inbound::listener::tls::ServerTls;
use crate::adapters::inbound::peers::pool::Peers;
use crate::adapters::inbound::peers::trust::Trust;
use crate::adapters::inbound::router;
use crate::adapters::inbound::wire::events::JsonCodec;
use crate::adapters::outbound::auth::config::KeyOrigin;
use crate::adapters::outbound::auth::verifier::JwtVerifier;
use crate::adapters::outbound::store_grpc::client::GrpcMessageStore;
use crate::adapters::outbound::store_grpc::config as store_grpc;
use crate::adapters::outbound::telemetry::metrics::Metrics;
use crate::adapters::outbound::telemetry::profile::CpuProfiler;
use crate::application::gateway::{Gateway, Ports};
use crate::application::ports::clock::Clock;
use crate::application::ports::telemetry::measure::{Gauges, Measure};
use crate::config::settings::Settings;

/// How long connections may take to end once they were sent away, beyond the time that a send may take.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// Most connections of operators: scrapers, load balancers, and a few people.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// What a node is built from.
pub struct Blueprint<'s> {
    /// The settings.
    pub settings: &'s Settings,
    /// The node's name, as `welcome` tells it.
    pub name: String,
    /// What it shares with other nodes.
    pub backplane: Backplane,
    /// Where the Store is.
    pub store: store_grpc::Config,
    /// Where the keys come from.
    pub keys: KeyOrigin,
}

/// A node that is put together; its own tasks run.
pub struct Node {
    /// What the transports see.
    pub edge: Arc<Edge>,
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    checks: Vec<Check>,
    gauges: Vec<Arc<dyn Gauges>>,
    slots: Slots,
    leaving: CancellationToken,
    stop_grace: Duration,
    announced: CancellationToken,
    life: Lifecycle,
}

impl Node {
    /// Puts a node together and starts what it does by itself. It is not ready any more once it is `leaving`.
    ///
    /// # Errors
    /// When keys or Store can't be used as they are configured.
    pub fn start(
        blueprint: Blueprint<'_>,
        leaving: CancellationToken,
        life: &Lifecycle,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let Blueprint { settings, name, backplane, store, keys } = blueprint;
        let announced = backplane.announced;
        let metrics = Arc::new(Metrics::default());
        let store = GrpcMessageStore::connect_lazy(store, clock.clone())?.counted_by(metrics.clone());
        let store = Arc::new(store);
        let (watched, until) = (store.clone(), life.soft.clone());
        life.spawn_vital("the watch over the Store", async move { watched.watch_health(until).await });

        let mut checks = backplane.checks;
        let (circuit, draining) = (store.clone(), leaving.clone());
        checks.push(Check::new("store", move || {
            let failing = match (circuit.has_answered(), circuit.circuit_open()) {
                (_, true) => "the circuit is open: the Store does not answer",
                (false, false) => "the Store has not answered yet",
                (true, false) => return None,
            };
            Some(failing.to_owned())
        }));
        checks.push(Check::new("draining", move || {
            draining.is_cancelled().then(|| "the node is going away".to_owned())
        }));

        let verifier = JwtVerifier::start(settings.auth_part(keys), clock.clone(), life.vital(), &life.soft)?;
        let verifier = Arc::new(verifier);
        let keys = verifier.clone();
        checks.push(Check::new("keys", move || {
            (!keys.has_keys()).then(|| "there are no keys to verify tokens with".to_owned())
        }));
        let mut gauges = backplane.gauges;
        gauges.extend([store.clone() as Arc<dyn Gauges>, verifier.clone()]);
        gauges.push(Arc::new(Leaving(leaving.clone())));
        gauges.push(Arc::new(Tasks(Handle::current())));
        let ports = Ports {
            store,
            bus: backplane.bus,
            codec: Arc::new(JsonCodec),
            idempotency: backplane.idempotency,
            presence: backplane.presence,
            records: backplane.records,
            nodes: backplane.nodes,
            roster: backplane.roster,
            lifecycle: backplane.lifecycle,
            throttle: backplane.throttle,
            auth: verifier,
            tickets: backplane.tickets,
            telemetry: metrics.clone(),
            clock: clock.clone(),
        };
        let gateway = Gateway::new(settings.gateway_part(name), ports, life.tasks.clone());
        life.spawn_vital("housekeeping", gateway.clone().keep_in_order(life.soft.clone()));
        gauges.push(gateway.clone());
        let peers = Peers::new(trust(settings)?, life.tasks.clone(), life.soft.clone());
        let edge = Edge::new(gateway.clone(), settings.edge_part(), peers, life.tasks.clone());
        let slots = Slots::new(settings.connections_max()).counted_by(metrics.clone());
        gauges.push(Arc::new(slots.clone()));
        // What has been taken from a client by then is answered, or given up by the Store's client.
        let stop_grace = settings.store.send_timeout + STOP_GRACE;
        Ok(Self {
            edge,
            gateway,
            metrics,
            checks,
            gauges,
            slots,
            leaving,
            stop_grace,
            announced,
            life: life.clone(),
        })
    }

    /// Serves operators in the background.
    pub fn serve_admin(&mut self, listener: TcpListener) {
        let (metrics, gauges) = (self.metrics.clone(), std::mem::take(&mut self.gauges));
        let admin = Admin {
            gateway: self.gateway.clone(),
            checks: std::mem::take(&mut self.checks),
            metrics: Box::new(move || metrics.to_text(&gauges).ok().map(String::into_bytes)),
            profiler: Arc::new(CpuProfiler::default()),
        };
        self.spawn_listener(
            listener,
            router::for_operators(routes::routes(admin)),
            Slots::new(ADMIN_CONNECTIONS_MAX),
            None,
        );
    }

    /// Serves clients in the background: the protocol, and these routes.
    pub fn serve(&self, listener: TcpListener, further: Router, tls: Option<ServerTls>) {
        let routes = router::for_clients(self.edge.clone(), further);
        self.spawn_listener(listener, routes, self.slots.clone(), tls);
    }

    fn spawn_listener(&self, listener: TcpListener, routes: Router, slots: Slots, tls: Option<ServerTls>) {
        let terms = Terms { config: Config::default(), slots, tls };
        let (tasks, soft, hard) = (self.life.tasks.clone(), self.life.soft.clone(), self.life.hard.clone());
        self.life.spawn_vital("a listener", async move {
            accept::serve(listener, routes, terms, &tasks, soft, hard).await;
        });
    }

    /// Leaves: not ready from now on; after `delay` every reader is sent away, to come back within `spread`; then
    /// everything ends.
    pub async fn leave(&self, delay: Duration, spread: Duration) {
        self.leaving.cancel();
        tokio::time::sleep(delay).await;
        self.edge.peers.leave(spread);
        self.gateway.send_everybody_away(spread).await;
        // Until here others could ask for its sessions.
        self.announced.cancel();
        self.life.end(self.stop_grace).await;
    }
}

/// Who is believed to be another node.
fn trust(settings: &Settings) -> anyhow::Result<Trust> {
    match &settings.peers.ca_file {
        None => Ok(Trust::System { own_chain: settings.tls_part().map(|files| files.cert_file) }),
        Some(path) => Trust::only(path).with_context(|| format!("peers.ca_file: {}", path.display())),
    }
}

/// Whether the node is going away.
struct Leaving(CancellationToken);

impl Gauges for Leaving {
    fn measure(&self, note: &mut dyn FnMut(Measure, f64)) {
        note(Measure::Draining, f64::from(u8::from(self.0.is_cancelled())));
    }
}

/// The tasks of the runtime that the node runs in.
struct Tasks(Handle);

impl Gauges for Tasks {
    fn measure(&self, note: &mut dyn FnMut(Measure, f64)) {
        note(Measure::Tasks, self.0.metrics().num_alive_tasks() as f64);
    }
}

/// What this machine is called; anything that is no part of a host name is left out.
#[must_use]
pub fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_default();
    let name: String = told.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

/// A name that no other node has, and that tells the machine.
///
/// # Errors
/// When the system has no random numbers.
pub fn node_name() -> anyhow::Result<String> {
    let suffix = getrandom::u32().map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(format!("{}-{suffix:08x}", host_name()))
}

/// How other nodes reach this one if nobody says: where it listens; by the machine's name if it listens everywhere.
#[must_use]
pub fn advertised(scheme: &str, listening: SocketAddr) -> String {
    if listening.ip().is_unspecified() {
        format!("{scheme}://{}:{}", host_name(), listening.port())
    } else {
        format!("{scheme}://{listening}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_advertised_where_it_listens_or_by_its_machines_name() {
        let at = |address: &str| advertised("http", address.parse().unwrap());
        assert_eq!(at("10.0.0.7:8080"), "http://10.0.0.7:8080");
        assert_eq!(at("[::1]:8080"), "http://[::1]:8080");
        assert_eq!(at("0.0.0.0:8080"), format!("http://{}:8080", host_name()));
        assert_eq!(at("[::]:8080"), format!("http://{}:8080", host_name()));
        assert_eq!(advertised("https", "10.0.0.7:8443".parse().unwrap()), "https://10.0.0.7:8443");
    }

    #[test]
    fn two_nodes_of_one_machine_have_two_names() {
        assert_ne!(node_name().unwrap(), node_name().unwrap());
    }
}
