//! What the nodes of one gateway share: the bus, and what they remember together.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::lifecycle::Lifecycle;
use crate::adapters::inbound::admin::check::Check;
use crate::adapters::outbound::auth::tickets::MemoryTickets;
use crate::adapters::outbound::memory::bus::MemoryBus;
use crate::adapters::outbound::memory::idempotency::MemoryIdempotency;
use crate::adapters::outbound::memory::lifecycle::MemoryLifecycle;
use crate::adapters::outbound::memory::nodes::NoOtherNodes;
use crate::adapters::outbound::memory::presence::MemoryPresence;
use crate::adapters::outbound::memory::records::MemorySessionRecords;
use crate::adapters::outbound::memory::roster::{self as memory_roster, MemoryRoster};
use crate::adapters::outbound::memory::throttle::MemoryTypingThrottle;
use crate::adapters::outbound::redis::bus::{self, RedisBus};
use crate::adapters::outbound::redis::commands::{self, RedisCommands};
use crate::adapters::outbound::redis::idempotency::{self, RedisIdempotency};
use crate::adapters::outbound::redis::lifecycle::RedisLifecycle;
use crate::adapters::outbound::redis::nodes::{self, RedisNodes};
use crate::adapters::outbound::redis::presence::RedisPresence;
use crate::adapters::outbound::redis::records::{self, RedisSessionRecords};
use crate::adapters::outbound::redis::roster::{self, RedisRoster};
use crate::adapters::outbound::redis::throttle::{self, RedisTypingThrottle};
use crate::adapters::outbound::redis::tickets::RedisTickets;
use crate::application::ports::auth::TicketStore;
use crate::application::ports::bus::EventBus;
use crate::application::ports::clock::Clock;
use crate::application::ports::idempotency::IdempotencyCache;
use crate::application::ports::lifecycle::LifecycleLog;
use crate::application::ports::nodes::NodeDirectory;
use crate::application::ports::presence::PresenceStore;
use crate::application::ports::records::SessionRecords;
use crate::application::ports::roster::SessionRoster;
use crate::application::ports::telemetry::measure::Gauges;
use crate::application::ports::throttle::TypingThrottle;
use crate::config::settings::Settings;
use crate::domain::time::UnixMillis;

/// What the nodes of one gateway share.
#[derive(Clone)]
pub struct Backplane {
    /// Events.
    pub bus: Arc<dyn EventBus>,
    /// Who has sent what already.
    pub idempotency: Arc<dyn IdempotencyCache>,
    /// Who is in a dialog.
    pub presence: Arc<dyn PresenceStore>,
    /// What sessions are rebuilt from.
    pub records: Arc<dyn SessionRecords>,
    /// Which nodes there are.
    pub nodes: Arc<dyn NodeDirectory>,
    /// Which sessions each user has.
    pub roster: Arc<dyn SessionRoster>,
    /// Who has attached, detached and ended.
    pub lifecycle: Arc<dyn LifecycleLog>,
    /// At most one "typing" in a while.
    pub throttle: Arc<dyn TypingThrottle>,
    /// One-use stand-ins for tokens.
    pub tickets: Arc<dyn TicketStore>,
    /// What readiness needs of it.
    pub checks: Vec<Check>,
    /// How it is.
    pub gauges: Vec<Arc<dyn Gauges>>,
    /// Until this is cancelled, other nodes are told that this one lives.
    pub announced: CancellationToken,
}

/// A node as the others see it.
#[derive(Debug, Clone)]
pub struct Presentation {
    /// Its name, no other node's.
    pub name: String,
    /// Where the others reach it: `scheme://host:port`.
    pub address: String,
}

impl Backplane {
    /// For one node alone, in its own memory.
    #[must_use]
    pub fn in_memory(settings: &Settings, node: &str, bus: Arc<MemoryBus>, clock: &Arc<dyn Clock>) -> Self {
        Self {
            gauges: vec![bus.clone()],
            bus,
            idempotency: Arc::new(MemoryIdempotency::new(clock.clone())),
            presence: Arc::new(MemoryPresence::new()),
            records: Arc::new(MemorySessionRecords::new(settings.records_part(), clock.clone())),
            nodes: Arc::new(NoOtherNodes),
            roster: Self::roster_in_memory(settings, node, clock),
            lifecycle: Arc::new(MemoryLifecycle::default()),
            throttle: Arc::new(MemoryTypingThrottle::new(settings.throttle_part(), clock.clone())),
            tickets: Arc::new(MemoryTickets::new(clock.clone())),
            checks: Vec::new(),
            announced: CancellationToken::new(),
        }
    }

    /// The same for a node that takes a killed one's place: nobody is attached to it yet.
    #[must_use]
    pub fn for_successor(&self, settings: &Settings, node: &str, clock: &Arc<dyn Clock>) -> Self {
        Self { roster: Self::roster_in_memory(settings, node, clock), ..self.clone() }
    }

    fn roster_in_memory(settings: &Settings, node: &str, clock: &Arc<dyn Clock>) -> Arc<dyn SessionRoster> {
        let resume_window = settings.session.resume_window;
        let config = memory_roster::Config { node: node.to_owned(), resume_window };
        Arc::new(MemoryRoster::new(config, clock.clone()))
    }

    /// On Redis. Its links are kept up by tasks of `links` until that ends; the node is announced from now on.
    ///
    /// # Errors
    /// When the URL names no servers. That they don't answer is no error: they may later.
    pub fn on_redis(
        settings: &Settings,
        servers: &commands::Config,
        node: Presentation,
        links: &Lifecycle,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let commands = RedisCommands::start(servers, links.vital(), links.soft.clone())?;
        let config = bus::Config::default();
        let bus = RedisBus::start(
            servers,
            commands.clone(),
            config,
            clock.clone(),
            links.vital(),
            links.soft.clone(),
        )?;
        let bus = Arc::new(bus);
        let probed = bus.clone();
        let check = Check::new("bus", move || {
            // 1970, until the first probe has come back.
            if probed.settled() == UnixMillis(0) {
                return Some("nothing has come back over the live link yet".to_owned());
            }
            let age = probed.probe_age();
            (age >= config.silence_max)
                .then(|| format!("nothing has come back over the live link for {} s", age.as_secs()))
        });
        let directory = nodes::Config { node: node.name.clone(), address: node.address };
        let nodes = RedisNodes::new(directory, commands.clone());
        let announced = CancellationToken::new();
        nodes.announce(links.vital(), announced.clone());
        let resume_window = settings.session.resume_window;
        let roster = roster::Config { node: node.name.clone(), resume_window };
        let records = records::Config { ttl: settings.session.record_ttl, node: node.name };
        let throttle = throttle::Config { interval: settings.throttle_part().interval };
        let idempotency = idempotency::Config::default();
        Ok(Self {
            gauges: vec![bus.clone()],
            bus,
            idempotency: Arc::new(RedisIdempotency::new(idempotency, commands.clone(), links.tasks.clone())),
            presence: Arc::new(RedisPresence::new(commands.clone())),
            records: Arc::new(RedisSessionRecords::new(records, commands.clone())),
            nodes: Arc::new(nodes),
            roster: Arc::new(RedisRoster::new(roster, commands.clone())),
            lifecycle: Arc::new(RedisLifecycle::new(commands.clone())),
            throttle: Arc::new(RedisTypingThrottle::new(throttle, commands.clone())),
            tickets: Arc::new(RedisTickets::new(commands)),
            checks: vec![check],
            announced,
        })
    }
}
