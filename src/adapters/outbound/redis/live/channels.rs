//! Which channels are listened to, by whom, and how far the servers know of it.
//!
//! Every channel has what is wanted (someone listens, or nobody) and a stage (what the server was told, and has
//! confirmed). Links ask for the orders that bring the two together; a channel has at most one order under way, so a
//! confirmation is never taken for that of another. Nothing here waits or does I/O: links call in with what the
//! server says, and get back what is to be told to sinks, which happens while no lock is held.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::routes::{LinkId, Routes, slot};
use crate::application::ports::bus::{LivePayload, LiveSink, LiveSubscription};

/// One connection of a link: what an earlier one still says is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life(pub(super) u64);

/// A sink, and whether its subscription still stands.
#[derive(Clone)]
struct Listener {
    id: u64,
    sink: Arc<dyn LiveSink>,
    ended: Arc<AtomicBool>,
}

/// Who listened to a channel at some moment.
#[derive(Clone, Default)]
pub(super) struct Audience(Arc<[Listener]>);

impl Audience {
    /// Tells all whose subscription still stands.
    pub(super) fn tell(&self, payload: &LivePayload) {
        let standing = |listener: &&Listener| !listener.ended.load(Ordering::Acquire);
        for listener in self.0.iter().filter(standing) {
            listener.sink.live(payload.clone());
        }
    }
}

/// What a server is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// `SSUBSCRIBE` of this channel.
    Subscribe(Arc<str>),
    /// `SUNSUBSCRIBE` of this channel.
    Unsubscribe(Arc<str>),
}

/// What the server of a channel was told, and has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Off,
    Subscribing(Life),
    On(Life),
    Unsubscribing(Life),
}

struct Channel {
    name: Arc<str>,
    listeners: Audience,
    waiting: Vec<oneshot::Sender<()>>,
    stage: Stage,
    link: Option<LinkId>,
    /// It stood once: whoever has listened since then relies on it.
    promised: bool,
    /// It waits in the queue of its link.
    queued: bool,
}

impl Channel {
    fn is_wanted(&self) -> bool {
        !self.listeners.0.is_empty()
    }

    fn is_owed(&self) -> bool {
        self.promised && self.is_wanted() && !matches!(self.stage, Stage::On(_))
    }

    /// It does not stand any more, and is to be ordered from this link.
    fn put_off(&mut self, link: Option<LinkId>) {
        self.stage = Stage::Off;
        self.link = link;
        self.queued = false;
    }

    fn needs_order(&self) -> bool {
        match self.stage {
            Stage::Off => self.is_wanted(),
            Stage::On(_) => !self.is_wanted(),
            Stage::Subscribing(_) | Stage::Unsubscribing(_) => false,
        }
    }
}

/// What a link has to do. Holds at most every channel of the link once.
struct Lane {
    queue: VecDeque<Arc<str>>,
    work: Arc<Notify>,
}

struct Table {
    channels: HashMap<Arc<str>, Channel>,
    lanes: HashMap<LinkId, Lane>,
    routes: Routes,
    next_listener: u64,
    /// Channels whose listeners rely on a subscription that does not stand right now.
    owed: usize,
    /// Rises whenever `owed` rises from zero.
    era: u64,
}

/// A time in which all subscriptions stood, without an interruption of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era(u64);

/// All channels of a node.
pub(super) struct Channels {
    table: Mutex<Table>,
}

impl Channels {
    /// No channels yet.
    pub(super) fn new(routes: Routes) -> Arc<Self> {
        let (channels, lanes) = (HashMap::new(), HashMap::new());
        Arc::new(Self {
            table: Mutex::new(Table { channels, lanes, routes, next_listener: 0, owed: 0, era: 0 }),
        })
    }

    /// Adds a listener. The answer's second half comes true when the subscription stands; `None`: it does already.
    pub(super) fn listen(
        self: &Arc<Self>,
        name: &str,
        sink: Arc<dyn LiveSink>,
    ) -> (Subscription, Option<oneshot::Receiver<()>>) {
        let ended = Arc::new(AtomicBool::new(false));
        let mut table = self.table.lock();
        let id = table.next_listener;
        table.next_listener += 1;
        let listener = Listener { id, sink, ended: ended.clone() };
        let name = table.enter(name);
        let added = table.change(&name, |channel| {
            let more = channel.listeners.0.iter().cloned().chain([listener]).collect();
            let replaced = std::mem::replace(&mut channel.listeners, Audience(more));
            if matches!(channel.stage, Stage::On(_)) {
                channel.promised = true;
                return (replaced, None);
            }
            let (stands, confirmed) = oneshot::channel();
            // Those who waited in vain have gone.
            channel.waiting.retain(|waiting| !waiting.is_closed());
            channel.waiting.push(stands);
            (replaced, Some(confirmed))
        });
        drop(table);
        let confirmed = added.and_then(|(_, confirmed)| confirmed);
        (Subscription { channels: Arc::downgrade(self), name, id, ended }, confirmed)
    }

    fn unlisten(&self, name: &str, id: u64) {
        let replaced = self.table.lock().change(name, |channel| {
            let rest = channel.listeners.0.iter().filter(|listener| listener.id != id).cloned().collect();
            let replaced = std::mem::replace(&mut channel.listeners, Audience(rest));
            channel.promised &= channel.is_wanted();
            replaced
        });
        // With no lock held: the last hold on a sink may drop other subscriptions.
        drop(replaced);
    }

    /// Opens the queue of a link; the answer wakes the link when there is something in it.
    pub(super) fn open(&self, link: LinkId) -> Arc<Notify> {
        let work = Arc::new(Notify::new());
        let lane = Lane { queue: VecDeque::new(), work: work.clone() };
        self.table.lock().lanes.insert(link, lane);
        work
    }

    /// What a link has to tell its server next, at most so many orders; they count as sent.
    pub(super) fn orders(&self, link: LinkId, life: Life, orders_max: usize) -> Vec<Order> {
        let mut table = self.table.lock();
        let mut orders = Vec::new();
        while orders.len() < orders_max {
            let Some(name) = table.lanes.get_mut(&link).and_then(|lane| lane.queue.pop_front()) else {
                break;
            };
            let order = table.change(&name, |channel| {
                if channel.link != Some(link) {
                    return None;
                }
                channel.queued = false;
                match channel.stage {
                    Stage::Off if channel.is_wanted() => {
                        channel.stage = Stage::Subscribing(life);
                        Some(Order::Subscribe(name.clone()))
                    }
                    Stage::On(_) if !channel.is_wanted() => {
                        channel.stage = Stage::Unsubscribing(life);
                        Some(Order::Unsubscribe(name.clone()))
                    }
                    _ => None,
                }
            });
            orders.extend(order.flatten());
        }
        orders
    }

    /// The server has confirmed a subscription. Those who relied on it before are told that there was a hole.
    pub(super) fn confirmed(&self, life: Life, name: &str) {
        let confirmed = self.table.lock().change(name, |channel| {
            if channel.stage != Stage::Subscribing(life) {
                return (Vec::new(), Audience::default());
            }
            channel.stage = Stage::On(life);
            let interrupted = if channel.promised { channel.listeners.clone() } else { Audience::default() };
            channel.promised = channel.is_wanted();
            (std::mem::take(&mut channel.waiting), interrupted)
        });
        let Some((waiting, interrupted)) = confirmed else { return };
        interrupted.tell(&LivePayload::Interrupted);
        for stands in waiting {
            // Whoever asked may have gone.
            let _ = stands.send(());
        }
    }

    /// The server has ended a subscription: because it was told to, or (`false`) because the slot is not its own any
    /// more, and then somebody must find out whose it is.
    pub(super) fn ended(&self, life: Life, name: &str) -> bool {
        let mut table = self.table.lock();
        let unasked = table.change(name, |channel| match channel.stage {
            Stage::Unsubscribing(of) if of == life => {
                channel.stage = Stage::Off;
                false
            }
            Stage::On(of) | Stage::Subscribing(of) => of == life,
            _ => false,
        });
        if unasked != Some(true) {
            return true;
        }
        table.routes.forget(slot(name));
        let link = table.routes.link(name);
        table.change(name, |channel| channel.put_off(link));
        false
    }

    /// A server refuses a slot's channels: they wait until it is known whose it is.
    pub(super) fn moved(&self, life: Life, moved: u16) {
        let mut table = self.table.lock();
        table.routes.forget(moved);
        let refused =
            |channel: &Channel| channel.stage == Stage::Subscribing(life) && slot(&channel.name) == moved;
        for name in table.names(refused) {
            let link = table.routes.link(&name);
            table.change(&name, |channel| channel.put_off(link));
        }
    }

    /// A connection is gone, with all its subscriptions: they are to be ordered anew.
    pub(super) fn lost(&self, life: Life) {
        let mut table = self.table.lock();
        let of_life = |channel: &Channel| match channel.stage {
            Stage::Off => false,
            Stage::Subscribing(of) | Stage::On(of) | Stage::Unsubscribing(of) => of == life,
        };
        for name in table.names(of_life) {
            table.change(&name, |channel| channel.stage = Stage::Off);
        }
    }

    /// Channels lie elsewhere now: those that have moved are ordered from their new link. The queues of links that
    /// are gone are closed.
    pub(super) fn reroute(&self, routes: Routes, closed: &[LinkId]) {
        let mut table = self.table.lock();
        for link in closed {
            table.lanes.remove(link);
        }
        let moved = |channel: &Channel| routes.link(&channel.name) != channel.link;
        for name in table.names(moved) {
            let link = routes.link(&name);
            table.change(&name, |channel| channel.put_off(link));
        }
        table.routes = routes;
    }

    /// Who listens to a channel, if this connection is the one that brings it.
    pub(super) fn audience(&self, life: Life, name: &str) -> Option<Audience> {
        let table = self.table.lock();
        let channel = table.channels.get(name)?;
        (channel.stage == Stage::On(life)).then(|| channel.listeners.clone())
    }

    /// The present era; `None` while there is a subscription that does not stand though somebody relies on it.
    pub(super) fn era(&self) -> Option<Era> {
        let table = self.table.lock();
        (table.owed == 0).then_some(Era(table.era))
    }
}

impl Table {
    /// Makes sure that there is such a channel: it must be wanted before the lock is given back.
    fn enter(&mut self, name: &str) -> Arc<str> {
        if let Some(channel) = self.channels.get(name) {
            return channel.name.clone();
        }
        let name: Arc<str> = name.into();
        let channel = Channel {
            name: name.clone(),
            listeners: Audience::default(),
            waiting: Vec::new(),
            stage: Stage::Off,
            link: self.routes.link(&name),
            promised: false,
            queued: false,
        };
        self.channels.insert(name.clone(), channel);
        name
    }

    fn names(&self, which: impl Fn(&Channel) -> bool) -> Vec<Arc<str>> {
        self.channels.values().filter(|channel| which(channel)).map(|channel| channel.name.clone()).collect()
    }

    /// Changes a channel, if there is such a one, and sees to what follows: a debt, an order, its end.
    fn change<R>(&mut self, name: &str, change: impl FnOnce(&mut Channel) -> R) -> Option<R> {
        let channel = self.channels.get_mut(name)?;
        let owed = channel.is_owed();
        let result = change(channel);
        match (owed, channel.is_owed()) {
            (false, true) => {
                self.era += u64::from(self.owed == 0);
                self.owed += 1;
            }
            (true, false) => self.owed -= 1,
            _ => {}
        }
        if channel.needs_order() && !channel.queued {
            if let Some(lane) = channel.link.and_then(|link| self.lanes.get_mut(&link)) {
                channel.queued = true;
                lane.queue.push_back(channel.name.clone());
                lane.work.notify_one();
            }
        } else if channel.stage == Stage::Off && !channel.is_wanted() {
            self.channels.remove(name);
        }
        Some(result)
    }
}

/// Ends its own listening, and no other. A delivery that is just under way may still come after that.
pub(super) struct Subscription {
    /// Weak, since a sink may own its subscription.
    channels: Weak<Channels>,
    name: Arc<str>,
    id: u64,
    ended: Arc<AtomicBool>,
}

impl LiveSubscription for Subscription {}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(channels) = self.channels.upgrade() {
            channels.unlisten(&self.name, self.id);
        }
    }
}
