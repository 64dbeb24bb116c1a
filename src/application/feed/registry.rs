//! The feeds of a node: made on the first interest, kept a moment after the last.

use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use hashlink::LinkedHashMap;
use parking_lot::Mutex;

use super::context::FeedContext;
use super::one::Feed;
use super::subscribers::Slot;
use crate::application::ports::bus::BusError;
use crate::application::ports::clock::Clock;
use crate::application::sessions::live::LiveSession;
use crate::domain::event::LogPosition;
use crate::domain::ids::FeedKey;
use crate::domain::time::Tick;

/// How long a feed that nobody follows stays connected.
pub const LINGER: Duration = Duration::from_secs(5);
/// How often the heads of all feeds are compared with the logs.
pub const AUDIT_EVERY: Duration = Duration::from_secs(30);
/// Feeds asked for in one question of the audit.
pub const AUDIT_BATCH_FEEDS: usize = 512;
const SHARDS: usize = 32;

/// A session's place in a feed.
#[derive(Clone)]
pub struct Membership {
    /// The feed.
    pub feed: Arc<Feed>,
    slot: Slot,
}

impl Membership {
    /// Leaves the feed.
    fn leave(&self, session: &Arc<LiveSession>) {
        self.feed.leave(self.slot, session);
    }
}

/// All feeds of a node.
pub struct FeedRegistry {
    /// In the order in which they were made: what is done to all of them is done in the same order in every run.
    shards: Vec<Mutex<LinkedHashMap<FeedKey, Arc<Feed>>>>,
    hasher: BuildHasherDefault<DefaultHasher>,
    lingering: Mutex<VecDeque<(Tick, FeedKey)>>,
    context: Arc<FeedContext>,
    clock: Arc<dyn Clock>,
}

impl FeedRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new(context: Arc<FeedContext>, clock: Arc<dyn Clock>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(LinkedHashMap::new())).collect(),
            hasher: BuildHasherDefault::default(),
            lingering: Mutex::new(VecDeque::new()),
            context,
            clock,
        }
    }

    /// Lets all feeds forget their newest events.
    pub fn forget_recent(&self) {
        for shard in &self.shards {
            let feeds: Vec<_> = shard.lock().values().cloned().collect();
            feeds.iter().for_each(|feed| feed.forget_recent());
        }
    }

    /// How many feeds there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// A connected feed: its live channel is confirmed and its position known.
    ///
    /// # Errors
    /// [`BusError`] when the bus doesn't answer.
    pub async fn open(&self, key: &FeedKey) -> Result<Arc<Feed>, BusError> {
        let feed = {
            let mut shard = self.shard(key).lock();
            match shard.get(key) {
                Some(feed) => feed.clone(),
                None => {
                    let feed = Feed::new(key.clone(), self.context.clone());
                    shard.insert(key.clone(), feed.clone());
                    feed
                }
            }
        };
        let connected = feed.connect().await;
        if feed.is_idle() {
            self.linger(key);
        }
        connected.map(|()| feed)
    }

    /// Makes a session a follower of a feed. Events pushed from now on reach it.
    ///
    /// # Errors
    /// [`BusError`] when the bus doesn't answer.
    pub async fn join(&self, key: &FeedKey, session: &Arc<LiveSession>) -> Result<Membership, BusError> {
        loop {
            let feed = self.open(key).await?;
            // Given up between the two lines: the next one is a new feed.
            if let Ok(slot) = feed.join(session.clone()) {
                return Ok(Membership { feed, slot });
            }
            self.forget(key, &feed);
        }
    }

    /// Takes a session out of a feed.
    pub fn leave(&self, membership: &Membership, session: &Arc<LiveSession>) {
        membership.leave(session);
        if membership.feed.is_idle() {
            self.linger(membership.feed.key());
        }
    }

    /// How many feeds there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives up the feeds that nobody has followed for [`LINGER`].
    pub fn sweep(&self) {
        let now = self.clock.tick();
        loop {
            let key = {
                let mut lingering = self.lingering.lock();
                match lingering.front() {
                    Some((until, _)) if *until <= now => lingering.pop_front().map(|(_, key)| key),
                    _ => None,
                }
            };
            let Some(key) = key else { return };
            let feed = self.shard(&key).lock().get(&key).cloned();
            if let Some(feed) = feed
                && feed.close_if_idle()
            {
                self.forget(&key, &feed);
            }
        }
    }

    /// Compares every feed with its log.
    ///
    /// # Errors
    /// [`BusError`] when the bus doesn't answer; what was compared is repaired all the same.
    pub async fn audit(&self) -> Result<(), BusError> {
        for shard in &self.shards {
            let feeds: Vec<Arc<Feed>> = shard.lock().values().cloned().collect();
            for batch in feeds.chunks(AUDIT_BATCH_FEEDS) {
                let keys: Vec<FeedKey> = batch.iter().map(|feed| feed.key().clone()).collect();
                let asked: Vec<Option<LogPosition>> = batch.iter().map(|feed| feed.position()).collect();
                let heads = self.context.bus.heads(&keys).await?;
                for ((feed, asked), head) in batch.iter().zip(&asked).zip(&heads) {
                    feed.audit(asked.as_ref(), head);
                }
            }
        }
        Ok(())
    }

    fn linger(&self, key: &FeedKey) {
        let until = self.clock.tick().plus(LINGER);
        self.lingering.lock().push_back((until, key.clone()));
    }

    fn forget(&self, key: &FeedKey, feed: &Arc<Feed>) {
        let mut shard = self.shard(key).lock();
        // Remove only the one that was meant: another may stand there by now.
        if shard.get(key).is_some_and(|held| Arc::ptr_eq(held, feed)) {
            shard.remove(key);
        }
    }

    fn shard(&self, key: &FeedKey) -> &Mutex<LinkedHashMap<FeedKey, Arc<Feed>>> {
        let hash = self.hasher.hash_one(key);
        &self.shards[(hash as usize) % SHARDS]
    }
}
