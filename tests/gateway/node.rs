//! A node, and a session at it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use edgeway::adapters::inbound::wire::events::JsonCodec;
use edgeway::adapters::outbound::auth::tickets::MemoryTickets;
use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::adapters::outbound::memory::bus::{Config as BusConfig, MemoryBus};
use edgeway::adapters::outbound::memory::idempotency::MemoryIdempotency;
use edgeway::adapters::outbound::memory::lifecycle::MemoryLifecycle;
use edgeway::adapters::outbound::memory::nodes::NoOtherNodes;
use edgeway::adapters::outbound::memory::presence::MemoryPresence;
use edgeway::adapters::outbound::memory::records::{Config as RecordsConfig, MemorySessionRecords};
use edgeway::adapters::outbound::memory::roster::{Config as RosterConfig, MemoryRoster};
use edgeway::adapters::outbound::memory::throttle::{Config as ThrottleConfig, MemoryTypingThrottle};
use edgeway::application::command::{Command, DialogTarget, Reply, Since, Targets};
use edgeway::application::gateway::{Config, Gateway, Ports};
use edgeway::application::ports::auth::{AuthError, Authenticator, Identity, Scopes};
use edgeway::application::ports::bus::EventLog;
use edgeway::application::ports::clock::Clock;
use edgeway::application::ports::telemetry::measure::{Gauges as _, Measure};
use edgeway::application::ports::telemetry::occurrence::NoTelemetry;
use edgeway::application::usecase::attach::AttachInput;
use edgeway::application::usecase::reading::Reading;
use edgeway::domain::error::Refusal;
use edgeway::domain::event::{Event, LogPosition};
use edgeway::domain::ids::{DialogId, FeedKey, SessionId, UserId};
use edgeway::domain::presence::TypingState;
use edgeway::domain::time::UnixMillis;
use edgeway::session::cursor::Cursor;
use edgeway::session::reader::{DrainBudget, Drained, Transport};
use edgeway::session::snapshot::SubscribeOptions;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::store::Store;

const BUDGET: DrainBudget = DrainBudget { events: 64, bytes: 64 * 1024 };
/// In paused time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nobody shows a token here: clients come with an identity.
struct NoTokens;

#[async_trait]
impl Authenticator for NoTokens {
    async fn verify(&self, _: &str) -> Result<Identity, AuthError> {
        Err(AuthError::Unauthorized)
    }

    fn leeway(&self) -> Duration {
        Duration::ZERO
    }
}

pub(crate) struct Node {
    pub(crate) store: Arc<Store>,
    pub(crate) bus: Arc<MemoryBus>,
    gateway: Arc<Gateway>,
    _life: DropGuard,
}

impl Node {
    /// To be called in paused time.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// The same with other ports.
    pub(crate) fn with(change: impl FnOnce(&mut Ports)) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let bus = Arc::new(MemoryBus::new(BusConfig::default(), clock.clone()));
        let store = Arc::new(Store::default());
        let config = Config::default();
        let roster = RosterConfig { node: config.node.clone(), resume_window: config.session.resume_window };
        let mut ports = Ports {
            store: store.clone(),
            bus: bus.clone(),
            codec: Arc::new(JsonCodec),
            idempotency: Arc::new(MemoryIdempotency::new(clock.clone())),
            presence: Arc::new(MemoryPresence::new()),
            records: Arc::new(MemorySessionRecords::new(RecordsConfig::default(), clock.clone())),
            nodes: Arc::new(NoOtherNodes),
            roster: Arc::new(MemoryRoster::new(roster, clock.clone())),
            lifecycle: Arc::new(MemoryLifecycle::default()),
            throttle: Arc::new(MemoryTypingThrottle::new(ThrottleConfig::default(), clock.clone())),
            auth: Arc::new(NoTokens),
            tickets: Arc::new(MemoryTickets::new(clock.clone())),
            telemetry: Arc::new(NoTelemetry),
            clock,
        };
        change(&mut ports);
        let tasks = TaskTracker::new();
        let gateway = Gateway::new(config, ports, tasks.clone());
        let life = CancellationToken::new();
        tasks.spawn(gateway.clone().keep_in_order(life.clone()));
        Self { store, bus, gateway, _life: life.drop_guard() }
    }

    /// Feeds that the node follows.
    pub(crate) fn feeds(&self) -> usize {
        let mut count = 0.0;
        self.gateway.measure(&mut |measure, value| {
            if measure == Measure::Feeds {
                count = value;
            }
        });
        count as usize
    }

    /// As a Store appends it.
    pub(crate) async fn append(&self, feed: &FeedKey, key: &str, json: &str) -> LogPosition {
        self.bus.append(feed, key, json.to_owned().into()).await.unwrap().position
    }

    /// A new session of this user.
    pub(crate) async fn attach(&self, user: &str) -> Client {
        self.attach_to(user, None).await
    }

    /// The same user's session again, from where an earlier reader began.
    pub(crate) async fn attach_again(&self, user: &str, session: &SessionId, from: Cursor) -> Client {
        self.attach_to(user, Some((session, Some(from)))).await
    }

    /// The same, from wherever it has come to.
    pub(crate) async fn attach_anywhere(&self, user: &str, session: &SessionId) -> Client {
        self.attach_to(user, Some((session, None))).await
    }

    async fn attach_to(&self, user: &str, going_on: Option<(&SessionId, Option<Cursor>)>) -> Client {
        let identity = Identity {
            user_id: UserId::parse(user).unwrap(),
            scopes: Scopes { read: true, write: true },
            expires_at: UnixMillis(u64::MAX / 4),
        };
        let input = AttachInput {
            session: going_on.map(|(session, _)| session.as_str().to_owned()),
            cursor: going_on.and_then(|(_, cursor)| cursor).map(|cursor| cursor.to_string()),
            attach: None,
            transport: Transport::WebSocket,
            device_id: None,
            dialogs: None,
            replace_expired: true,
            held_by: None,
        };
        let reading = self.gateway.attach(&identity, input).await.unwrap();
        Client { gateway: self.gateway.clone(), identity: Arc::new(identity), reading }
    }
}

/// Who reads a session.
pub(crate) struct Client {
    gateway: Arc<Gateway>,
    identity: Arc<Identity>,
    pub(crate) reading: Reading,
}

impl Client {
    pub(crate) fn ask(&self, command: Command) -> impl Future<Output = Result<Reply, Refusal>> + use<> {
        self.gateway.carry_out(&self.identity, self.reading.session(), command)
    }

    pub(crate) async fn subscribe(&self, dialogs: &[&str]) -> Result<Reply, Refusal> {
        let target = |id: &&str| DialogTarget { dialog_id: dialog(id), since: None };
        self.subscribe_to(dialogs.iter().map(target).collect()).await
    }

    /// Has arrived when this returns, and is carried out when it is awaited.
    pub(crate) fn subscribe_since(
        &self,
        id: &str,
        position: LogPosition,
    ) -> impl Future<Output = Result<Reply, Refusal>> + use<> {
        let since = Some(Since { position, message_seq: None });
        self.subscribe_to(vec![DialogTarget { dialog_id: dialog(id), since }])
    }

    fn subscribe_to(
        &self,
        targets: Vec<DialogTarget>,
    ) -> impl Future<Output = Result<Reply, Refusal>> + use<> {
        let targets = Targets::Dialogs(targets, Vec::new());
        self.ask(Command::Subscribe { targets, options: SubscribeOptions { presence: false, typing: true } })
    }

    pub(crate) async fn type_in(&self, id: &str) -> Result<Reply, Refusal> {
        self.ask(Command::Typing { dialog_id: dialog(id), state: TypingState::Started }).await
    }

    pub(crate) async fn who_is_in(&self, id: &str) -> Result<Reply, Refusal> {
        self.ask(Command::Presence { dialog_id: dialog(id) }).await
    }

    /// The bodies of all resumable events up to the first with this text in it.
    pub(crate) async fn hear_until(&self, text: &str) -> Vec<String> {
        let hearing = async {
            let mut heard: Vec<String> = Vec::new();
            while !heard.iter().any(|body| body.contains(text)) {
                let mut out = Vec::new();
                let drained = self.reading.drain(BUDGET, &mut out).await;
                assert!(!matches!(drained, Drained::Dismissed(_)), "{drained:?}");
                let events = out.iter().filter_map(|outgoing| outgoing.event());
                heard.extend(events.map(|event| body(event)));
            }
            heard
        };
        timeout(PATIENCE, hearing).await.unwrap_or_else(|_| panic!("{text} never comes"))
    }
}

fn body(event: &Event) -> String {
    String::from_utf8(event.body.to_vec()).unwrap()
}

pub(crate) fn dialog(id: &str) -> DialogId {
    DialogId::parse(id).unwrap()
}
