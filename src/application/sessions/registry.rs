//! The sessions of a node: by id, by user, and by what is due next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::Mutex;

use super::live::LiveSession;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::{Tick, UnixMillis};
use crate::session::machine::Session;
use crate::session::reader::Transport;

const SHARDS: usize = 64;

/// All sessions of a node.
pub struct SessionRegistry {
    by_id: Vec<Mutex<HashMap<SessionId, Held>>>,
    by_user: Vec<Mutex<HashMap<UserId, Vec<Arc<LiveSession>>>>>,
    due: Mutex<BinaryHeap<Reverse<Due>>>,
    hasher: DefaultHashBuilder,
    begun: AtomicU64,
}

struct Held {
    session: Arc<LiveSession>,
    /// How many sessions began here before it.
    rank: u64,
}

struct Due {
    at: Tick,
    session: Weak<LiveSession>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// How many sessions there are, by what reads them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Read by a WebSocket.
    pub ws: usize,
    /// Read by a stream of server-sent events.
    pub sse: usize,
    /// Read by a poll right now.
    pub poll: usize,
    /// Read by nobody right now.
    pub detached: usize,
    /// Events in all queues.
    pub queued_events: usize,
    /// Bytes of event bodies in all queues.
    pub queued_bytes: usize,
    /// The bus's time of the oldest event that a reader has not taken yet.
    pub oldest_waiting: Option<UnixMillis>,
}

impl Census {
    fn count(&mut self, machine: &Session) {
        let outbox = machine.outbox();
        self.queued_events += outbox.len();
        self.queued_bytes += outbox.bytes();
        match machine.attached_by() {
            Some(Transport::WebSocket) => self.ws += 1,
            Some(Transport::Sse) => self.sse += 1,
            Some(Transport::Poll) => self.poll += 1,
            None => return self.detached += 1,
        }
        let mut waiting = outbox.after(outbox.read()).filter_map(|entry| entry.event.as_ref());
        if let Some(at) = waiting.find_map(|event| Some(event.logged.as_ref()?.at)) {
            self.oldest_waiting = Some(self.oldest_waiting.map_or(at, |oldest| oldest.min(at)));
        }
    }
}

impl Default for SessionRegistry {
    fn default() -> Self {
        Self {
            by_id: (0..SHARDS).map(|_| Mutex::default()).collect(),
            by_user: (0..SHARDS).map(|_| Mutex::default()).collect(),
            due: Mutex::default(),
            hasher: DefaultHashBuilder::default(),
            begun: AtomicU64::new(0),
        }
    }
}

impl SessionRegistry {
    /// Adds a session. If one of the same id is there already, that one is given back and nothing is added.
    pub fn insert(&self, session: &Arc<LiveSession>) -> Option<Arc<LiveSession>> {
        {
            let mut shard = self.id_shard(session.id()).lock();
            if let Some(known) = shard.get(session.id()) {
                return Some(known.session.clone());
            }
            let rank = self.begun.fetch_add(1, Ordering::Relaxed);
            shard.insert(session.id().clone(), Held { session: session.clone(), rank });
        }
        let mut shard = self.user_shard(session.user_id()).lock();
        let sessions = shard.entry(session.user_id().clone()).or_default();
        // Most users have one.
        sessions.reserve_exact(1);
        sessions.push(session.clone());
        None
    }

    /// A session by its id.
    #[must_use]
    pub fn find(&self, id: &SessionId) -> Option<Arc<LiveSession>> {
        self.id_shard(id).lock().get(id).map(|held| held.session.clone())
    }

    /// The sessions of a user.
    #[must_use]
    pub fn of_user(&self, user: &UserId) -> Vec<Arc<LiveSession>> {
        self.user_shard(user).lock().get(user).cloned().unwrap_or_default()
    }

    /// All sessions, in the order in which they began here.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<LiveSession>> {
        let held = |shard: &Mutex<HashMap<SessionId, Held>>| {
            shard.lock().values().map(|held| (held.rank, held.session.clone())).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.by_id.iter().flat_map(held).collect();
        all.sort_unstable_by_key(|(rank, _)| *rank);
        all.into_iter().map(|(_, session)| session).collect()
    }

    /// Removes this very session: another one under the same id stays. Returns whether it was there.
    pub fn remove(&self, session: &Arc<LiveSession>) -> bool {
        {
            let mut shard = self.id_shard(session.id()).lock();
            if !shard.get(session.id()).is_some_and(|held| Arc::ptr_eq(&held.session, session)) {
                return false;
            }
            shard.remove(session.id());
        }
        let mut shard = self.user_shard(session.user_id()).lock();
        if let Some(sessions) = shard.get_mut(session.user_id()) {
            sessions.retain(|held| !Arc::ptr_eq(held, session));
            if sessions.is_empty() {
                shard.remove(session.user_id());
            }
        }
        true
    }

    /// How many there are.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for shard in &self.by_id {
            for held in shard.lock().values() {
                held.session.peek(|machine| census.count(machine));
            }
        }
        census
    }

    /// Looks at the session again at this time, or earlier if that is planned already.
    pub fn schedule(&self, session: &Arc<LiveSession>, at: Tick) {
        let mut due = self.due.lock();
        if session.alarm() > at {
            session.set_alarm(at);
            due.push(Reverse(Due { at, session: Arc::downgrade(session) }));
        }
    }

    /// Takes the sessions that are due; each must be scheduled anew.
    #[must_use]
    pub fn take_due(&self, now: Tick) -> Vec<Arc<LiveSession>> {
        let mut due = self.due.lock();
        let mut sessions = Vec::new();
        while due.peek().is_some_and(|Reverse(next)| next.at <= now) {
            if let Some(Reverse(next)) = due.pop()
                && let Some(session) = next.session.upgrade()
                && session.alarm() == next.at
            {
                session.set_alarm(Tick(u64::MAX));
                sessions.push(session);
            }
        }
        sessions
    }

    fn id_shard(&self, id: &SessionId) -> &Mutex<HashMap<SessionId, Held>> {
        &self.by_id[self.hasher.hash_one(id) as usize % SHARDS]
    }

    fn user_shard(&self, user: &UserId) -> &Mutex<HashMap<UserId, Vec<Arc<LiveSession>>>> {
        &self.by_user[self.hasher.hash_one(user) as usize % SHARDS]
    }
}
