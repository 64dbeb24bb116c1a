//! A node's link to the bus. The bus itself is the embedded one; what makes it a bad day is the link.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use edgeway::adapters::outbound::memory::bus::MemoryBus;
use edgeway::application::ports::bus::{
    BusError, EventBus, LivePayload, LiveSink, LiveSubscription, LogSlice, ReadFrom,
};
use edgeway::domain::event::LogPosition;
use edgeway::domain::ids::FeedKey;
use edgeway::domain::time::UnixMillis;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::gate::{Chance, Gate};
use super::mutant::Mutant;

/// The link. Payloads keep their order on it.
pub(crate) struct Link {
    central: Arc<MemoryBus>,
    pub(crate) gate: Arc<Gate>,
    chance: Arc<Chance>,
    mutant: Option<Mutant>,
    state: Mutex<State>,
    arrived: Notify,
    next_relay: AtomicU64,
}

struct State {
    relays: Vec<Weak<Relay>>,
    queue: VecDeque<Parcel>,
    last_due: Instant,
    slow_max_millis: u64,
    to_lose: u64,
    to_repeat: u64,
    /// Nothing passes; since this time of the bus.
    cut_since: Option<UnixMillis>,
    /// Calls fail, too.
    down: bool,
    late: Vec<Arc<Relay>>,
}

struct Parcel {
    due: Instant,
    published: UnixMillis,
    to: Arc<Relay>,
    payload: LivePayload,
}

/// A subscription's end of the link.
struct Relay {
    id: u64,
    feed: FeedKey,
    link: Weak<Link>,
    sink: Arc<dyn LiveSink>,
    over: AtomicBool,
    /// At the bus; none while a mutant has not subscribed yet.
    there: Mutex<Option<Box<dyn LiveSubscription>>>,
}

impl Relay {
    fn deliver(&self, payload: LivePayload) {
        if !self.over.load(Ordering::Relaxed) {
            self.sink.live(payload);
        }
    }
}

/// What the bus holds: it must not keep the relay alive.
struct Inlet(Weak<Relay>);

impl LiveSink for Inlet {
    fn live(&self, payload: LivePayload) {
        if let Some(relay) = self.0.upgrade()
            && let Some(link) = relay.link.upgrade()
        {
            link.take(&relay, payload);
        }
    }
}

/// What the node holds: dropped, the subscription is over.
struct Held(Arc<Relay>);

impl LiveSubscription for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
        *self.0.there.lock() = None;
        if let Some(link) = self.0.link.upgrade() {
            let id = self.0.id;
            link.state.lock().relays.retain(|relay| relay.upgrade().is_some_and(|relay| relay.id != id));
        }
    }
}

impl Link {
    pub(crate) fn new(
        central: Arc<MemoryBus>,
        gate: Arc<Gate>,
        chance: Arc<Chance>,
        mutant: Option<Mutant>,
    ) -> Arc<Self> {
        Arc::new(Self {
            central,
            gate,
            chance,
            mutant,
            state: Mutex::new(State {
                relays: Vec::new(),
                queue: VecDeque::new(),
                last_due: Instant::now(),
                slow_max_millis: 5,
                to_lose: 0,
                to_repeat: 0,
                cut_since: None,
                down: false,
                late: Vec::new(),
            }),
            arrived: Notify::new(),
            next_relay: AtomicU64::new(0),
        })
    }

    /// Carries payloads until the node is dead.
    pub(crate) async fn carry(self: Arc<Self>) {
        while !self.gate.is_dead() {
            let due = self.state.lock().queue.front().map(|parcel| parcel.due);
            match due {
                None => self.arrived.notified().await,
                Some(due) if due > Instant::now() => {
                    tokio::time::sleep_until(due).await;
                }
                Some(_) => {
                    let parcel = self.state.lock().queue.pop_front();
                    if let Some(parcel) = parcel {
                        parcel.to.deliver(parcel.payload);
                    }
                }
            }
        }
    }

    /// How many feeds are listened to.
    pub(crate) fn subscriptions(&self) -> usize {
        self.state.lock().relays.len()
    }

    pub(crate) fn lose(&self, n: u64) {
        self.state.lock().to_lose += n;
    }

    pub(crate) fn repeat(&self, n: u64) {
        self.state.lock().to_repeat += n;
    }

    pub(crate) fn set_slow(&self, max_millis: u64) {
        self.state.lock().slow_max_millis = max_millis;
    }

    /// What is on its way is lost, and what comes now.
    pub(crate) fn cut(&self) {
        let settled = self.settled();
        let mut state = self.state.lock();
        state.cut_since.get_or_insert(settled);
        state.queue.clear();
    }

    /// The link stands again, and says that it did not.
    pub(crate) fn heal(&self) {
        let relays: Vec<Arc<Relay>> = {
            let state = self.state.lock();
            if state.cut_since.is_none() {
                return;
            }
            state.relays.iter().filter_map(Weak::upgrade).collect()
        };
        for relay in relays {
            relay.deliver(LivePayload::Interrupted);
        }
        self.state.lock().cut_since = None;
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.state.lock().down = down;
    }

    /// To the bus and back.
    async fn call<R>(&self, act: impl Future<Output = Result<R, BusError>>) -> Result<R, BusError> {
        let up = || if self.state.lock().down { Err(BusError::Unavailable) } else { Ok(()) };
        self.gate.pass().await?;
        up()?;
        let answer = act.await;
        self.gate.pass().await?;
        up()?;
        answer
    }

    pub(crate) fn forget(&self) {
        self.gate.kill();
        let relays = std::mem::take(&mut self.state.lock().relays);
        for relay in relays.iter().filter_map(Weak::upgrade) {
            relay.over.store(true, Ordering::Relaxed);
            *relay.there.lock() = None;
        }
        self.arrived.notify_one();
    }

    fn take(&self, relay: &Arc<Relay>, payload: LivePayload) {
        let payload = self.as_mutant(payload);
        let mut state = self.state.lock();
        if state.cut_since.is_some() {
            return;
        }
        let mut payload = payload;
        if state.to_lose > 0
            && let LivePayload::Logged(entry) = &mut payload
        {
            state.to_lose -= 1;
            if self.mutant != Some(Mutant::AdvanceOnDrop) {
                return;
            }
            entry.json = Bytes::from_static(b"dropped");
        }
        let takes = Duration::from_millis(self.chance.below(state.slow_max_millis + 1));
        let due = state.last_due.max(Instant::now() + takes);
        state.last_due = due;
        let published = match &payload {
            LivePayload::Logged(entry) => entry.at,
            _ => self.central.time(),
        };
        let copies = if state.to_repeat > 0 { 2 } else { 1 };
        state.to_repeat = state.to_repeat.saturating_sub(1);
        for _ in 0..copies {
            let parcel = Parcel { due, published, to: relay.clone(), payload: payload.clone() };
            state.queue.push_back(parcel);
        }
        drop(state);
        self.arrived.notify_one();
    }

    fn as_mutant(&self, mut payload: LivePayload) -> LivePayload {
        if self.mutant == Some(Mutant::NoEpochCheck)
            && let LivePayload::Logged(entry) = &mut payload
        {
            entry.epoch = "e".into();
        }
        payload
    }

    async fn begin(&self, relay: &Arc<Relay>) -> Result<(), BusError> {
        let there = self.central.subscribe(&relay.feed, Arc::new(Inlet(Arc::downgrade(relay)))).await?;
        *relay.there.lock() = Some(there);
        Ok(())
    }
}

/// The link as a node uses it.
pub(crate) struct NodeBus(pub(crate) Arc<Link>);

#[async_trait]
impl EventBus for NodeBus {
    async fn subscribe(
        &self,
        feed: &FeedKey,
        sink: Arc<dyn LiveSink>,
    ) -> Result<Box<dyn LiveSubscription>, BusError> {
        let link = &self.0;
        link.call(std::future::ready(Ok(()))).await?;
        let relay = Arc::new(Relay {
            id: link.next_relay.fetch_add(1, Ordering::Relaxed),
            feed: feed.clone(),
            link: Arc::downgrade(link),
            sink,
            over: AtomicBool::new(false),
            there: Mutex::new(None),
        });
        if link.mutant == Some(Mutant::SubscribeAfterReading) {
            link.state.lock().late.push(relay.clone());
        } else {
            link.begin(&relay).await?;
        }
        link.state.lock().relays.push(Arc::downgrade(&relay));
        let held = Held(relay);
        link.gate.pass().await?;
        Ok(Box::new(held))
    }

    async fn read(&self, feed: &FeedKey, from: ReadFrom, limit: usize) -> Result<LogSlice, BusError> {
        let link = &self.0;
        let mut slice = link.call(link.central.read(feed, from, limit)).await?;
        let late: Vec<Arc<Relay>> = {
            let mut state = link.state.lock();
            state.late.extract_if(.., |relay| relay.feed == *feed).collect()
        };
        for relay in late {
            link.begin(&relay).await?;
        }
        if link.mutant == Some(Mutant::NoEpochCheck) {
            slice.head.epoch = "e".into();
            slice.entries.iter_mut().for_each(|entry| entry.epoch = "e".into());
        }
        Ok(slice)
    }

    async fn heads(&self, feeds: &[FeedKey]) -> Result<Vec<LogPosition>, BusError> {
        let mut heads = self.0.call(self.0.central.heads(feeds)).await?;
        if self.0.mutant == Some(Mutant::NoEpochCheck) {
            heads.iter_mut().for_each(|head| head.epoch = "e".into());
        }
        Ok(heads)
    }

    async fn publish_ephemeral(&self, feed: &FeedKey, json: Bytes) -> Result<(), BusError> {
        self.0.call(self.0.central.publish_ephemeral(feed, json)).await
    }

    fn time(&self) -> UnixMillis {
        self.0.central.time()
    }

    fn settled(&self) -> UnixMillis {
        self.0.settled()
    }
}

impl Link {
    fn settled(&self) -> UnixMillis {
        let state = self.state.lock();
        let waiting = state.queue.front().map(|parcel| UnixMillis(parcel.published.0.saturating_sub(1)));
        let now = self.central.settled();
        state.cut_since.into_iter().chain(waiting).fold(now, UnixMillis::min)
    }
}
