//! A node: its ports, its feeds, its sessions.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::Span;

use super::addresses::AddressMeters;
use super::allowance::UserMeters;
use super::care::Care;
use super::feed::context::FeedContext;
use super::feed::registry::FeedRegistry;
use super::handovers::Handovers;
use super::lifecycle::Lifecycle;
use super::limits::Rate;
use super::memberships::Memberships;
use super::ports::auth::{Authenticator, TicketStore};
use super::ports::bus::EventBus;
use super::ports::clock::Clock;
use super::ports::codec::EventCodec;
use super::ports::idempotency::IdempotencyCache;
use super::ports::lifecycle::LifecycleLog;
use super::ports::nodes::NodeDirectory;
use super::ports::presence::PresenceStore;
use super::ports::records::SessionRecords;
use super::ports::roster::SessionRoster;
use super::ports::store::{CallContext, MessageStore};
use super::ports::telemetry::occurrence::Telemetry;
use super::ports::throttle::TypingThrottle;
use super::pressure::Pressure;
use super::read_marks::ReadMarks;
use super::sessions::live::LiveSession;
use super::sessions::registry::SessionRegistry;
use super::trace::RequestContext;
use crate::domain::ids::UserId;
use crate::session::machine;

/// Settings of the use-cases.
#[derive(Debug, Clone)]
pub struct Config {
    /// Settings that all sessions share.
    pub session: Arc<machine::Config>,
    /// This node's name, as `welcome` tells it.
    pub node: String,
    /// Most sessions of one user.
    pub sessions_per_user: usize,
    /// Least time between two `typing started` of one user in one dialog.
    pub typing_every: Duration,
    /// How long a `typing started` counts.
    pub typing_expires: Duration,
    /// Above this many members a dialog has no typing.
    pub typing_max_members: u64,
    /// Above this many members a dialog has no presence.
    pub presence_max_members: u64,
    /// New sessions of one user, and of one address; twice as many may be gone on with.
    pub connects_rate: Rate,
    /// Commands of one session.
    pub commands_rate: Rate,
    /// Messages of one session.
    pub sends_rate: Rate,
    /// How long a send waits for another one with the same id.
    pub send_patience: Duration,
    /// What all queues may hold together.
    pub memory_budget_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session: Arc::default(),
            node: "dev".to_owned(),
            sessions_per_user: 20,
            typing_every: Duration::from_secs(3),
            typing_expires: Duration::from_secs(6),
            typing_max_members: 200,
            presence_max_members: 500,
            connects_rate: Rate { per_second: 20 },
            commands_rate: Rate { per_second: 20 },
            sends_rate: Rate { per_second: 5 },
            send_patience: Duration::from_secs(5),
            memory_budget_bytes: 2 << 30,
        }
    }
}

/// What a node is given.
pub struct Ports {
    /// The message store.
    pub store: Arc<dyn MessageStore>,
    /// The event bus.
    pub bus: Arc<dyn EventBus>,
    /// Events as bytes.
    pub codec: Arc<dyn EventCodec>,
    /// Who has sent what already.
    pub idempotency: Arc<dyn IdempotencyCache>,
    /// Who is in a dialog.
    pub presence: Arc<dyn PresenceStore>,
    /// What outlives a session's memory.
    pub records: Arc<dyn SessionRecords>,
    /// Which nodes there are, and who holds a session.
    pub nodes: Arc<dyn NodeDirectory>,
    /// Which sessions each user has.
    pub roster: Arc<dyn SessionRoster>,
    /// Who has attached, detached and ended.
    pub lifecycle: Arc<dyn LifecycleLog>,
    /// At most one "typing" in a while.
    pub throttle: Arc<dyn TypingThrottle>,
    /// Verifies tokens.
    pub auth: Arc<dyn Authenticator>,
    /// One-use stand-ins for tokens.
    pub tickets: Arc<dyn TicketStore>,
    /// Takes notes.
    pub telemetry: Arc<dyn Telemetry>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// A node.
pub struct Gateway {
    pub(super) config: Config,
    pub(super) ports: Ports,
    pub(super) feeds: FeedRegistry,
    pub(super) sessions: SessionRegistry,
    pub(super) memberships: Memberships,
    pub(super) read_marks: ReadMarks,
    pub(super) user_meters: UserMeters,
    pub(super) pressure: Arc<Pressure>,
    pub(super) address_meters: AddressMeters,
    pub(super) tasks: TaskTracker,
    /// Nothing begins here any more: see [`super::farewell`].
    pub(super) leaving: AtomicBool,
    pub(super) handovers: Handovers,
    pub(super) lifecycle: Lifecycle,
}

impl Gateway {
    /// Puts a node together. Its tasks run on `tasks`; [`super::care`] keeps it in order.
    #[must_use]
    pub fn new(config: Config, ports: Ports, tasks: TaskTracker) -> Arc<Self> {
        let pressure = Pressure::new(config.session.ledger.clone(), config.memory_budget_bytes);
        let pressure = Arc::new(pressure);
        Arc::new_cyclic(|this| {
            let context = FeedContext::new(
                ports.bus.clone(),
                ports.codec.clone(),
                ports.telemetry.clone(),
                Arc::new(Care::new(this.clone())),
                tasks.clone(),
            );
            let context = Arc::new(context.within(pressure.clone()));
            Self {
                feeds: FeedRegistry::new(context, ports.clock.clone()),
                sessions: SessionRegistry::default(),
                memberships: Memberships::new(ports.store.clone(), ports.clock.clone()),
                user_meters: UserMeters::default(),
                pressure,
                address_meters: AddressMeters::default(),
                read_marks: ReadMarks::new(ports.store.clone()),
                config,
                ports,
                tasks,
                leaving: AtomicBool::new(false),
                handovers: Handovers::default(),
                lifecycle: Lifecycle::default(),
            }
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Verifies tokens.
    #[must_use]
    pub fn auth(&self) -> &dyn Authenticator {
        &*self.ports.auth
    }

    /// One-use stand-ins for tokens.
    #[must_use]
    pub fn tickets(&self) -> &dyn TicketStore {
        &*self.ports.tickets
    }

    /// Tells the time.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.ports.clock
    }

    /// Takes notes.
    #[must_use]
    pub fn telemetry(&self) -> &dyn Telemetry {
        &*self.ports.telemetry
    }

    /// The sessions of this node.
    #[must_use]
    pub fn sessions(&self) -> &SessionRegistry {
        &self.sessions
    }

    /// Makes a span, just begun, a part of the trace of the request that is being served.
    pub(super) fn in_trace(&self, span: Span) -> Span {
        if !span.is_disabled()
            && let Some(trace) = RequestContext::current().and_then(|request| request.trace)
        {
            self.ports.telemetry.adopt(&span, trace);
        }
        span
    }

    pub(super) fn call_for(user: &UserId, session: Option<&Arc<LiveSession>>) -> CallContext {
        CallContext { user_id: user.clone(), session_id: session.map(|session| session.id().clone()) }
    }
}
