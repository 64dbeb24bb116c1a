//! The node of `edgeway dev`. It can be killed, with all that it holds, and another one takes its place: what a client
//! sees of that is what it sees when a machine dies and another one goes on.

use std::net::TcpListener as StdTcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::backplane::Backplane;
use super::demo;
use super::dev_routes::{self, Development};
use super::lifecycle::Lifecycle;
use super::node::{Blueprint, Node};
use crate::adapters::inbound::listener::tls::ServerTls;
use crate::adapters::outbound::auth::config::KeyOrigin;
use crate::application::ports::clock::Clock;
use crate::config::settings::Settings;

/// From the wish to the death: so long the answer has to get out.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What outlives a node: the bus and what is remembered on it, the Store, the sockets.
pub(super) struct Surroundings<'s> {
    /// The settings.
    pub(super) settings: &'s Settings,
    /// What the nodes share.
    pub(super) backplane: Backplane,
    /// The Store's address.
    pub(super) store: String,
    /// The keys that verify tokens, as a JWK set.
    pub(super) keys: String,
    /// What `/dev` needs.
    pub(super) development: Arc<Development>,
    /// Where clients are served.
    pub(super) listener: StdTcpListener,
    /// With what they are encrypted, if at all.
    pub(super) tls: Option<ServerTls>,
    /// Where operators are.
    pub(super) admin: Option<StdTcpListener>,
    /// Tells the time.
    pub(super) clock: Arc<dyn Clock>,
}

/// What the `number`th node is called.
pub(super) fn name(number: u32) -> String {
    format!("dev-{number}")
}

/// A node with a runtime of its own: without that, nothing of it is left.
pub(super) struct MortalNode {
    pub(super) node: Node,
    pub(super) life: Lifecycle,
    /// Until it is dropped.
    runtime: Option<Runtime>,
}

impl Surroundings<'_> {
    /// Brings a node up, the `number`th.
    ///
    /// # Errors
    /// When there are no threads for it, or its parts can't be started.
    pub(super) fn bring_up(&self, number: u32) -> anyhow::Result<MortalNode> {
        let runtime = Runtime::new().context("the node's runtime")?;
        let life = Lifecycle::default();
        let node = {
            // Its tasks, timers and sockets belong to its runtime.
            let _context = runtime.enter();
            self.start(number, &life)
        };
        match node {
            Ok(node) => Ok(MortalNode { node, life, runtime: Some(runtime) }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    fn start(&self, number: u32, life: &Lifecycle) -> anyhow::Result<Node> {
        let name = name(number);
        let blueprint = Blueprint {
            settings: self.settings,
            backplane: self.backplane.for_successor(self.settings, &name, &self.clock),
            name,
            store: self.settings.store_part(vec![self.store.clone()]),
            keys: KeyOrigin::Jwks(self.keys.clone()),
        };
        let mut node = Node::start(blueprint, CancellationToken::new(), life, &self.clock)?;
        if let Some(admin) = &self.admin {
            node.serve_admin(TcpListener::from_std(admin.try_clone()?)?);
        }
        let routes = dev_routes::routes(node.edge.clone(), self.development.clone()).merge(demo::routes());
        node.serve(TcpListener::from_std(self.listener.try_clone()?)?, routes, self.tls.clone());
        Ok(node)
    }
}

impl Drop for MortalNode {
    /// Every task of it ends where it stands, and every connection without a word.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until somebody wants the node dead.
pub(super) async fn death(wanted: &Notify) {
    wanted.notified().await;
    tokio::time::sleep(LAST_WORDS).await;
}
