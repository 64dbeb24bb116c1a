//! The director: puts nodes, bus, Store and clients together, carries a plan out, and sees to the end in which all must
//! have everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use edgeway::adapters::outbound::auth::tickets::MemoryTickets;
use edgeway::adapters::outbound::memory::bus::{Config as BusConfig, MemoryBus};
use edgeway::adapters::outbound::memory::idempotency::MemoryIdempotency;
use edgeway::adapters::outbound::memory::lifecycle::MemoryLifecycle;
use edgeway::adapters::outbound::memory::presence::MemoryPresence;
use edgeway::adapters::outbound::memory::roster::{Config as RosterConfig, MemoryRoster};
use edgeway::adapters::outbound::memory::throttle::{Config as ThrottleConfig, MemoryTypingThrottle};
use edgeway::application::gateway::{Config, Gateway, Ports};
use edgeway::application::limits::Rate;
use edgeway::application::ports::bus::{EventBus, ReadFrom};
use edgeway::application::ports::idempotency::IdempotencyCache;
use edgeway::application::ports::presence::PresenceStore;
use edgeway::application::ports::throttle::TypingThrottle;
use edgeway::domain::body::MessageBody;
use edgeway::domain::event::LogEpoch;
use edgeway::domain::ids::{ClientMessageId, DialogId, FeedKey, SessionId, UserId};
use edgeway::domain::message::Draft;
use edgeway::session::machine;
use edgeway::session::outbox::OutboxLimits;
use edgeway::session::reader::Dismissal;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bus::{Link, NodeBus};
use super::client::Seat;
use super::gate::{Chance, Gate, VirtualClock};
use super::mutant::Mutant;
use super::plan::{Act, Plan, Step};
use super::ports::{Codec, Counts, NoTokens, Sends};
use super::records::{Directory, NodeRecords, NodeView, SharedRecords};
use super::store::{Hold, NodeStore, Store};
use super::truth::Truth;
use super::view::View;

/// How long the calm may take until everybody has everything: more than two audits.
const CALM_MAX: Duration = Duration::from_secs(180);
/// How long nobody appends after a failover: until the nodes have heard of it.
const FAILOVER_QUIET: Duration = Duration::from_secs(4);
/// Until a feed that nobody follows is given up, with room.
const LINGER: Duration = Duration::from_secs(12);
const ONE_AT_A_TIME: Duration = Duration::from_millis(200);

/// A node that runs.
struct Slot {
    name: String,
    gate: Arc<Gate>,
    link: Arc<Link>,
    clock: Arc<VirtualClock>,
    gateway: Arc<Gateway>,
    life: CancellationToken,
}

pub(crate) struct World {
    pub(crate) truth: Arc<Truth>,
    pub(crate) chance: Arc<Chance>,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) tasks: TaskTracker,
    pub(crate) store: Arc<Store>,
    pub(crate) users: Vec<UserId>,
    pub(crate) counts: Arc<Counts>,
    plan: Plan,
    began: Instant,
    central: Arc<MemoryBus>,
    records: Arc<SharedRecords>,
    directory: Arc<Directory>,
    idempotency: Arc<dyn IdempotencyCache>,
    presence: Arc<dyn PresenceStore>,
    throttle: Arc<dyn TypingThrottle>,
    shared_clock: Arc<VirtualClock>,
    dialogs: Vec<DialogId>,
    nodes: Mutex<Vec<Slot>>,
    leaving: Mutex<BTreeSet<String>>,
    nodes_begun: Mutex<usize>,
    posts: Mutex<u64>,
    /// Memberships may be answered from memory: the Store was out of reach at some time.
    memberships_may_be_old: Mutex<bool>,
    /// Live payloads may have been lost.
    something_was_lost: Mutex<bool>,
    names: Mutex<BTreeMap<SessionId, usize>>,
}

/// How a run went.
pub(crate) struct Outcome {
    pub(crate) wrong: Option<String>,
    pub(crate) trace: Vec<String>,
    /// Tells one trace from another.
    pub(crate) digest: u64,
    pub(crate) counts: BTreeMap<String, u64>,
}

/// Carries a plan out.
pub(crate) fn run(plan: &Plan, mutant: Option<Mutant>, told: bool) -> Outcome {
    fastrand::seed(plan.seed);
    let panics = crate::panics_here();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without a reactor");
    let (truth, counts) = runtime.block_on(async {
        let world = World::new(plan.clone(), mutant, told);
        world.run().await;
        (world.truth.clone(), world.counts.clone())
    });
    drop(runtime);
    if crate::panics_here() > panics {
        truth.wrong("something panicked".to_owned());
    }
    let (wrong, trace, digest) = truth.verdict();
    let counts = std::mem::take(&mut *counts.0.lock());
    Outcome { wrong, trace, digest, counts }
}

impl World {
    fn new(plan: Plan, mutant: Option<Mutant>, told: bool) -> Arc<Self> {
        let began = Instant::now();
        let truth = Arc::new(Truth::new(began, told));
        let chance = Chance::new(plan.seed ^ 0x51_4d);
        let clock = VirtualClock::new(began);
        let config = BusConfig { log_entries_max: plan.log_entries, ..BusConfig::default() };
        if plan.log_entries < 1000 {
            truth.damage();
        }
        let central = Arc::new(MemoryBus::new(config, clock.clone()));
        let store = Store::new(central.clone(), clock.clone(), chance.clone(), truth.clone(), mutant);
        let cache = Arc::new(MemoryIdempotency::new(clock.clone()));
        Arc::new(Self {
            users: (0..plan.users).map(|n| UserId::parse(&format!("u{n}")).unwrap()).collect(),
            dialogs: (0..plan.dialogs).map(|n| DialogId::parse(&format!("d{n}")).unwrap()).collect(),
            tasks: TaskTracker::new(),
            counts: Arc::default(),
            records: Arc::default(),
            directory: Arc::default(),
            idempotency: Arc::new(Sends { cache, mutant }),
            presence: Arc::new(MemoryPresence::new()),
            throttle: Arc::new(MemoryTypingThrottle::new(ThrottleConfig::default(), clock.clone())),
            shared_clock: clock,
            nodes: Mutex::default(),
            leaving: Mutex::default(),
            nodes_begun: Mutex::default(),
            posts: Mutex::default(),
            memberships_may_be_old: Mutex::default(),
            something_was_lost: Mutex::default(),
            names: Mutex::default(),
            plan,
            mutant,
            truth,
            chance,
            store,
            began,
            central,
        })
    }

    async fn run(self: &Arc<Self>) {
        for dialog in &self.dialogs {
            let outsider = poster();
            self.store.set_member(dialog, &outsider, true, false);
            for user in &self.users {
                if self.chance.percent(85) {
                    self.store.set_member(dialog, user, true, false);
                }
            }
        }
        self.tasks.spawn(self.store.clone().publish());
        for _ in 0..self.plan.nodes {
            let slot = self.new_node();
            self.nodes.lock().push(slot);
        }
        let seats: Vec<Arc<Seat>> = (0..self.plan.seats)
            .map(|index| {
                let user = self.users[index % self.users.len()].clone();
                let mut view = View::new(user.clone(), self.truth.clone());
                view.follows_all = self.plan.follow_all[index];
                Seat::new(index, user, view)
            })
            .collect();
        for seat in &seats {
            seat.connect(self);
            for dialog in &self.dialogs {
                if self.chance.percent(60) {
                    seat.subscribe(self, dialog);
                }
            }
        }
        for Step { after_millis, act } in &self.plan.steps {
            tokio::time::sleep(Duration::from_millis(*after_millis)).await;
            if self.truth.is_wrong() {
                return;
            }
            self.truth.tell(format_args!("-- {act:?}"));
            self.carry_out(act, &seats).await;
        }
        self.calm_down(&seats).await;
        let holes = self.counts.0.lock().get("repaired hole").copied().unwrap_or(0);
        if holes > 0 && !*self.something_was_lost.lock() {
            self.truth.wrong(format!("{holes} holes in feeds, and nothing was lost on the way"));
        }
        if !self.truth.is_wrong() {
            self.end(&seats).await;
        }
    }

    fn name_of_newest(&self) -> String {
        format!("n{}", self.nodes_begun.lock())
    }

    /// A node that nobody knows yet.
    fn new_node(self: &Arc<Self>) -> Slot {
        let name = {
            let mut begun = self.nodes_begun.lock();
            *begun += 1;
            format!("n{begun}")
        };
        let gate = Gate::new(self.chance.clone(), self.plan.latency_max_millis);
        let link = Link::new(self.central.clone(), gate.clone(), self.chance.clone(), self.mutant);
        let clock = VirtualClock::new(self.began);
        let config = Config {
            session: Arc::new(machine::Config {
                outbox: OutboxLimits { events: self.plan.queue_events, bytes: self.plan.queue_bytes },
                resume_window: Duration::from_secs(self.plan.resume_window_secs),
                presence_grace: Duration::from_secs(self.plan.presence_grace_secs),
                ..machine::Config::default()
            }),
            node: name.clone(),
            sessions_per_user: 1000,
            commands_rate: Rate { per_second: 1000 },
            sends_rate: Rate { per_second: 1000 },
            ..Config::default()
        };
        let ports = Ports {
            store: Arc::new(NodeStore { store: self.store.clone(), gate: gate.clone(), mutant: self.mutant }),
            bus: Arc::new(NodeBus(link.clone())),
            codec: Arc::new(Codec(self.mutant)),
            idempotency: self.idempotency.clone(),
            presence: self.presence.clone(),
            records: Arc::new(NodeRecords {
                shared: self.records.clone(),
                gate: gate.clone(),
                node: name.clone(),
                mutant: self.mutant,
            }),
            nodes: Arc::new(NodeView {
                shared: self.records.clone(),
                directory: self.directory.clone(),
                gate: gate.clone(),
            }),
            roster: Arc::new(MemoryRoster::new(
                RosterConfig {
                    node: self.name_of_newest(),
                    resume_window: Duration::from_secs(self.plan.resume_window_secs),
                },
                clock.clone(),
            )),
            lifecycle: Arc::new(MemoryLifecycle::default()),
            throttle: self.throttle.clone(),
            auth: Arc::new(NoTokens),
            tickets: Arc::new(MemoryTickets::new(self.shared_clock.clone())),
            telemetry: self.counts.clone(),
            clock: clock.clone(),
        };
        let gateway = Gateway::new(config, ports, self.tasks.clone());
        let life = CancellationToken::new();
        self.tasks.spawn(gateway.clone().keep_in_order(life.clone()));
        self.tasks.spawn(link.clone().carry());
        self.directory.lock().insert(name.clone(), gate.clone());
        Slot { name, gate, link, clock, gateway, life }
    }

    /// A node for a client to go to: mostly where it was.
    pub(crate) fn some_node(&self, stay: Option<usize>) -> Option<(usize, Arc<Gateway>, Arc<Gate>)> {
        let nodes = self.nodes.lock();
        let moves = self.chance.percent(30);
        let anywhere = self.chance.below(nodes.len() as u64) as usize;
        let stays = stay.filter(|at| !moves && nodes[*at].gate.is_up());
        // A client that gets no answer tries the next.
        let up = (0..nodes.len()).map(|n| (anywhere + n) % nodes.len()).find(|n| nodes[*n].gate.is_up());
        let index = stays.or(up)?;
        Some((index, nodes[index].gateway.clone(), nodes[index].gate.clone()))
    }

    /// Whether a node is going, and still there to be asked for its sessions.
    pub(crate) fn is_leaving(&self, name: &str) -> bool {
        let alive = self.directory.lock().get(name).is_some_and(|gate| gate.is_up());
        alive && self.leaving.lock().contains(name)
    }

    /// A node that is reached under a name.
    pub(crate) fn node_called(&self, name: &str) -> Option<(usize, Arc<Gateway>, Arc<Gate>)> {
        let nodes = self.nodes.lock();
        let index = nodes.iter().position(|slot| slot.name == name && slot.gate.is_up())?;
        Some((index, nodes[index].gateway.clone(), nodes[index].gate.clone()))
    }

    pub(crate) fn head_of(&self, feed: &FeedKey) -> (LogEpoch, u64) {
        let (epoch, offset) = self.central.head_of(feed);
        if self.mutant == Some(Mutant::NoEpochCheck) { ("e".into(), offset) } else { (epoch, offset) }
    }

    /// How the trace calls a session: its own name is random.
    pub(crate) fn name_of(&self, session: &SessionId) -> String {
        let mut names = self.names.lock();
        let next = names.len();
        format!("s{}", names.entry(session.clone()).or_insert(next))
    }

    /// Whether something may be handed out: its reader is a member, or was when it was said, or nobody can know.
    pub(crate) fn may_read(&self, user: &UserId, dialog: &DialogId, offset: u64) -> bool {
        if *self.memberships_may_be_old.lock() || self.store.is_member(dialog, user) {
            return true;
        }
        !self.truth.was_removed_before(user, dialog, offset)
    }

    async fn carry_out(self: &Arc<Self>, act: &Act, seats: &[Arc<Seat>]) {
        let after = |millis: u64, heal: Box<dyn FnOnce(&World) + Send>| {
            let world = self.clone();
            self.tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                world.truth.tell(format_args!("-- healed"));
                heal(&world);
            });
        };
        *self.something_was_lost.lock() |= act.loses();
        match act {
            Act::Post { dialog, count } => {
                for _ in 0..*count {
                    self.post(&self.dialogs[*dialog]);
                }
            }
            Act::Send { seat, dialog, twice } => seats[*seat].send(self, &self.dialogs[*dialog], *twice),
            Act::Reconnect { seat } | Act::Return { seat } => seats[*seat].connect(self),
            Act::Leave { seat } => {
                seats[*seat].disconnect();
            }
            Act::Subscribe { seat, dialog } => seats[*seat].subscribe(self, &self.dialogs[*dialog]),
            Act::Unsubscribe { seat, dialog } => seats[*seat].unsubscribe(self, &self.dialogs[*dialog]),
            Act::Membership { user, dialog } => {
                let (user, dialog) = (&self.users[*user], &self.dialogs[*dialog]);
                let added = !self.store.is_member(dialog, user);
                self.store.set_member(dialog, user, added, true);
            }
            Act::Slow { seat, millis } => seats[*seat].set_slow(Duration::from_millis(*millis)),
            Act::Typing { seat, dialog } => seats[*seat].type_something(self, &self.dialogs[*dialog]),
            Act::Lose { node, count } => self.nodes.lock()[*node].link.lose(*count),
            Act::Repeat { node, count } => self.nodes.lock()[*node].link.repeat(*count),
            Act::SlowLink { node, millis } => self.nodes.lock()[*node].link.set_slow(*millis),
            Act::CutOff { node, millis } => {
                *self.memberships_may_be_old.lock() = true;
                let (gate, link) = self.ways_of(*node);
                gate.cut_off(true);
                link.cut();
                for seat in seats {
                    if self.chance.percent(70) {
                        seat.node_is_gone(*node);
                    }
                }
                after(
                    *millis,
                    Box::new(move |_| {
                        gate.cut_off(false);
                        link.heal();
                    }),
                );
            }
            Act::CutLink { node, millis } => {
                let (_, link) = self.ways_of(*node);
                link.cut();
                after(*millis, Box::new(move |_| link.heal()));
            }
            Act::Kill { node } => {
                let fresh = self.new_node();
                let slot = std::mem::replace(&mut self.nodes.lock()[*node], fresh);
                slot.link.forget();
                slot.life.cancel();
                seats.iter().for_each(|seat| seat.node_is_gone(*node));
            }
            Act::Drain { node } => {
                let fresh = self.new_node();
                let slot = std::mem::replace(&mut self.nodes.lock()[*node], fresh);
                self.leaving.lock().insert(slot.name.clone());
                slot.gateway.send_everybody_away(Duration::from_secs(1)).await;
                slot.life.cancel();
                slot.link.forget();
                seats.iter().for_each(|seat| seat.node_is_gone(*node));
            }
            Act::WallClock { node, error_millis } => {
                self.nodes.lock()[*node].clock.set_wall_error(*error_millis);
            }
            Act::Trim { dialog, keep } => {
                self.truth.damage();
                self.central.trim(&FeedKey::Dialog(self.dialogs[*dialog].clone()), *keep);
            }
            Act::Reset { dialog } => {
                self.truth.damage();
                self.central.reset(&FeedKey::Dialog(self.dialogs[*dialog].clone()));
            }
            Act::ResetUser { user } => {
                self.truth.damage();
                self.central.reset(&FeedKey::User(self.users[*user].clone()));
            }
            Act::Rewind { dialog, by } => self.fail_over(&self.dialogs[*dialog], *by, seats).await,
            Act::BusDown { millis } => {
                self.bus_down(true);
                after(*millis, Box::new(|world| world.bus_down(false)));
            }
            Act::StoreDown { millis } => {
                *self.memberships_may_be_old.lock() = true;
                self.store.set_down(true);
                after(*millis, Box::new(|world| world.store.set_down(false)));
            }
            Act::StoreSlow { millis } => self.store.set_slow(Duration::from_millis(*millis)),
            Act::StoreSilent { sends } => self.store.fall_silent(*sends),
            Act::NoHistory { off } => self.store.set_no_history(*off),
            Act::Garbage { dialog } => self.store.publish_garbage(&self.dialogs[*dialog]),
            Act::Other { dialog } => self.store.publish_other(&self.dialogs[*dialog]),
        }
    }

    fn ways_of(&self, node: usize) -> (Arc<Gate>, Arc<Link>) {
        let nodes = self.nodes.lock();
        (nodes[node].gate.clone(), nodes[node].link.clone())
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.nodes.lock().iter().map(|slot| slot.link.clone()).collect()
    }

    fn bus_down(&self, down: bool) {
        self.store.hold_back(Hold::BusDown, down);
        for link in self.links() {
            link.set_down(down);
            if down { link.cut() } else { link.heal() }
        }
    }

    /// A replica takes over that lacks the newest entries of a log. Every link breaks; the nodes hear of it before
    /// anybody appends.
    async fn fail_over(self: &Arc<Self>, dialog: &DialogId, by: usize, seats: &[Arc<Seat>]) {
        let feed = FeedKey::Dialog(dialog.clone());
        self.store.hold_back(Hold::Failover, true);
        tokio::time::sleep(ONE_AT_A_TIME).await;
        self.truth.rewind(&feed);
        for seat in seats {
            seat.state.lock().view.trust_no_more(&feed);
        }
        self.links().iter().for_each(|link| link.cut());
        self.central.rewind(&feed, by);
        tokio::time::sleep(ONE_AT_A_TIME).await;
        self.links().iter().for_each(|link| link.heal());
        tokio::time::sleep(FAILOVER_QUIET).await;
        // If the bus was down meanwhile, nobody has heard of it: what is appended before they have would hide it from
        // every node, as it does when no node holds a session (a limit that docs/reliability.md tells).
        while self.store.is_bus_down() {
            tokio::time::sleep(ONE_AT_A_TIME).await;
            if !self.store.is_bus_down() {
                tokio::time::sleep(FAILOVER_QUIET).await;
            }
        }
        let head = self.head_of(&feed);
        for seat in seats {
            let mut state = seat.state.lock();
            // Whoever is in step with what is left has nothing that is not there.
            let in_step = state.at.as_ref().is_some_and(|place| {
                place.gate.is_up() && place.session.peek(|machine| machine.subscriptions().behind() == 0)
            });
            if in_step && let Some(view) = state.view.feeds.get_mut(&feed) {
                view.untrusted &= view.epoch != head.0 || view.position() != head.1;
            }
        }
        self.store.hold_back(Hold::Failover, false);
    }

    /// Somebody says something who needs no gateway.
    fn post(&self, dialog: &DialogId) {
        let number = {
            let mut posts = self.posts.lock();
            *posts += 1;
            *posts
        };
        let draft = Draft {
            dialog_id: dialog.clone(),
            client_message_id: ClientMessageId::parse(&format!("post{number}")).unwrap(),
            body: MessageBody::new(format!("number {number}"), Vec::new()).unwrap(),
            reply_to: None,
        };
        self.store.commit(&poster(), &draft).expect("the poster is a member of every dialog");
    }

    /// No more faults: everybody must get everything.
    async fn calm_down(self: &Arc<Self>, seats: &[Arc<Seat>]) {
        self.truth.tell(format_args!("-- calm"));
        self.store.heal();
        self.bus_down(false);
        for slot in &*self.nodes.lock() {
            slot.gate.cut_off(false);
            slot.link.heal();
            slot.link.set_slow(5);
        }
        for seat in seats {
            seat.set_slow(Duration::ZERO);
            if !seat.is_connected() {
                seat.connect(self);
            }
        }
        let until = Instant::now() + CALM_MAX;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.truth.is_wrong() {
                return;
            }
            let Some(lacking) = self.lacking(seats) else { return };
            if Instant::now() > until {
                return self.truth.wrong(format!("never catches up: {lacking}"));
            }
        }
    }

    /// What somebody still lacks.
    fn lacking(&self, seats: &[Arc<Seat>]) -> Option<String> {
        if !self.store.is_quiet() {
            return Some("the outbox is not empty".to_owned());
        }
        seats.iter().find_map(|seat| {
            let state = seat.state.lock();
            let lacks = |what: String| Some(format!("seat {}: {what}", seat.index));
            let Some(place) = &state.at else { return lacks("is not connected".to_owned()) };
            if state.unanswered > 0 {
                return lacks("a send is not answered".to_owned());
            }
            if !state.unconfirmed.is_empty() {
                return lacks(format!("does not follow {:?}", state.unconfirmed));
            }
            for feed in state.view.feeds.keys() {
                let follows = place.session.peek(|machine| machine.subscriptions().find(feed).is_some());
                if !follows && !state.view.unsure {
                    return lacks(format!("follows {feed}, its session does not"));
                }
                if follows && let Some(what) = state.view.lacks(feed, &self.head_of(feed)) {
                    return lacks(what);
                }
            }
            for dialog in self.dialogs.iter().filter(|_| state.view.follows_all && !state.view.unsure) {
                let feed = FeedKey::Dialog(dialog.clone());
                let follows = place.session.peek(|machine| machine.subscriptions().find(&feed).is_some());
                if self.store.is_member(dialog, &seat.user) != follows {
                    return lacks(format!("follows all, and {dialog}: {follows}"));
                }
            }
            None
        })
    }

    /// Everything comes back: sessions, feeds, subscriptions.
    async fn end(self: &Arc<Self>, seats: &[Arc<Seat>]) {
        self.truth.tell(format_args!("-- the end"));
        seats.iter().for_each(|seat| {
            seat.disconnect();
        });
        // Until nobody waits for an answer any more.
        tokio::time::sleep(LINGER).await;
        let gateways: Vec<Arc<Gateway>> = self.nodes.lock().iter().map(|slot| slot.gateway.clone()).collect();
        for gateway in &gateways {
            for session in gateway.sessions().all() {
                gateway.end_session(&session, Dismissal::Bye).await;
            }
        }
        tokio::time::sleep(LINGER).await;
        for (index, slot) in self.nodes.lock().iter().enumerate() {
            let sessions = slot.gateway.sessions().all().len();
            let feeds = slot.link.subscriptions();
            if sessions + feeds > 0 {
                self.truth.wrong(format!("node {index} keeps {sessions} sessions and {feeds} feeds"));
            }
        }
    }
}

/// A member of every dialog who is not connected.
fn poster() -> UserId {
    UserId::parse("poster").unwrap()
}

trait HeadOf {
    fn head_of(&self, feed: &FeedKey) -> (LogEpoch, u64);
}

impl HeadOf for MemoryBus {
    fn head_of(&self, feed: &FeedKey) -> (LogEpoch, u64) {
        use futures_util::FutureExt;
        // The embedded bus answers at once; it may be down for others.
        let read = self.read(feed, ReadFrom::Newest, 0).now_or_never().expect("it never waits");
        read.map_or_else(|_| ("".into(), 0), |slice| (slice.head.epoch, slice.head.offset))
    }
}
