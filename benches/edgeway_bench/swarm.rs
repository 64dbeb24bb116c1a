//! Many clients of one server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::child::Server;
use crate::client::{self, Memory, Notebook};
use crate::plan::{Carriage, Plan};
use crate::tally::Tally;
use crate::tokens::Tokens;

/// So many may be connecting at the same time.
const CONNECTING_MAX: u64 = 128;
const PATIENCE: Duration = Duration::from_secs(90);

/// Clients, connected until it is dropped.
pub(crate) struct Swarm {
    pub(crate) tally: Arc<Tally>,
    clients: JoinSet<()>,
    pub(crate) notebooks: Vec<Arc<Mutex<Memory>>>,
}

/// Who they are.
pub(crate) struct Crowd<'a> {
    pub(crate) server: &'a Server,
    pub(crate) tokens: &'a Tokens,
    /// The first one's number.
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// Whether they remember what a resume needs.
    pub(crate) remember: bool,
    /// Whether all of them may connect at once.
    pub(crate) at_once: bool,
}

impl<'a> Crowd<'a> {
    pub(crate) fn of(server: &'a Server, tokens: &'a Tokens, first: usize, count: usize) -> Self {
        Self { server, tokens, first, count, remember: false, at_once: false }
    }

    pub(crate) fn plans(
        &self,
        carriage: impl Fn(usize) -> Carriage,
        dialog: impl Fn(usize) -> Option<usize>,
    ) -> anyhow::Result<Vec<Plan>> {
        let plan = |index| {
            let number = self.first + index;
            let token = self.server.wants_token.then(|| self.tokens.for_user(number)).transpose()?;
            Ok(Plan {
                carriage: carriage(index),
                server: self.server.address,
                number,
                token,
                dialogs: dialog(index).map_or(0..0, |dialog| dialog..dialog + 1),
                resume: None,
            })
        };
        (0..self.count).map(plan).collect()
    }

    /// Connects them, and waits until all are welcomed.
    pub(crate) async fn connect(
        &self,
        carriage: impl Fn(usize) -> Carriage,
        dialog: impl Fn(usize) -> Option<usize>,
    ) -> anyhow::Result<Swarm> {
        let plans = self.plans(carriage, dialog)?;
        let mut swarm = Swarm::empty();
        swarm.add(plans, self.remember, self.at_once).await?;
        Ok(swarm)
    }
}

impl Swarm {
    pub(crate) fn empty() -> Self {
        Self { tally: Arc::default(), clients: JoinSet::new(), notebooks: Vec::new() }
    }

    pub(crate) async fn add(
        &mut self,
        plans: Vec<Plan>,
        remember: bool,
        at_once: bool,
    ) -> anyhow::Result<()> {
        let before = self.tally.ready.load(Ordering::Relaxed);
        let total = plans.len() as u64;
        for (begun, plan) in plans.into_iter().enumerate() {
            let notebook: Notebook = remember.then(Arc::default);
            self.notebooks.extend(notebook.clone());
            self.clients.spawn(client::run(plan, self.tally.clone(), notebook));
            if !at_once {
                let least = (before + begun as u64 + 1).saturating_sub(CONNECTING_MAX);
                self.tally.wait_ready(least, PATIENCE).await?;
            }
        }
        self.tally.wait_ready(before + total, PATIENCE).await
    }

    pub(crate) fn received(&self) -> u64 {
        self.tally.received.load(Ordering::Relaxed)
    }

    /// Closes all connections. The server learns of it a moment later.
    pub(crate) async fn hang_up(mut self) -> Vec<Arc<Mutex<Memory>>> {
        self.clients.shutdown().await;
        sleep(Duration::from_millis(500)).await;
        self.notebooks
    }
}
