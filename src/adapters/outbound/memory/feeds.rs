//! All feeds of the bus, within bounds: how many there are, how many bytes their logs hold, and how long.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::bus_config::Config;
use super::live::Channel;
use super::log::Log;
use super::sharded::Sharded;
use crate::domain::event::LogEpoch;
use crate::domain::ids::FeedKey;
use crate::domain::time::{UnixMillis, whole_millis};

/// How often logs and feeds past their time are looked for.
const SWEEP_EVERY_MILLIS: u64 = 10 * 60 * 1000;
/// Over a bound, this part of it becomes free at once, so that a sweep is rare.
const SWEEP_FREES_ONE_IN: usize = 8;

/// A feed: its log and who listens.
pub(super) struct Feed {
    pub(super) log: Log,
    pub(super) channel: Channel,
    /// Fault injection: so many of the next live deliveries of logged events are lost.
    pub(super) live_to_lose: u64,
    created: UnixMillis,
}

impl Feed {
    /// When the feed was created or last appended to.
    fn touched(&self) -> UnixMillis {
        self.created.max(self.log.last_at())
    }
}

/// The feeds, each made at its first mention.
pub(super) struct Feeds {
    config: Config,
    /// Boxed: a table is up to half empty.
    shards: Sharded<HashMap<FeedKey, Box<Feed>>>,
    epochs: Epochs,
    bytes: AtomicUsize,
    count: AtomicUsize,
    sweep: Mutex<()>,
    sweep_at_millis: AtomicU64,
    sweep_above_feeds: AtomicUsize,
}

impl Feeds {
    pub(super) fn new(config: Config) -> Self {
        Self {
            shards: Sharded::default(),
            epochs: Epochs::default(),
            bytes: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            sweep: Mutex::new(()),
            sweep_at_millis: AtomicU64::new(0),
            sweep_above_feeds: AtomicUsize::new(config.feeds_max),
            config,
        }
    }

    /// Does something with a feed and its log, at `now`.
    pub(super) fn with<R>(&self, key: &FeedKey, now: UnixMillis, act: impl FnOnce(&mut Feed) -> R) -> R {
        let result = {
            let mut shard = self.shards.lock(key);
            let feed = shard.entry(key.clone()).or_insert_with(|| {
                self.count.fetch_add(1, Ordering::Relaxed);
                Box::new(Feed {
                    log: Log::new(self.epochs.next()),
                    channel: Channel::default(),
                    live_to_lose: 0,
                    created: now,
                })
            });
            let before = feed.log.bytes();
            self.expire(&mut feed.log, now);
            let result = act(feed);
            self.account(before, feed.log.bytes());
            result
        };
        if self.sweep_is_due(now) {
            self.sweep(now);
        }
        result
    }

    /// Does something with a feed's channel, if there is such a feed.
    pub(super) fn with_channel<R>(&self, key: &FeedKey, act: impl FnOnce(&mut Channel) -> R) -> Option<R> {
        self.shards.lock(key).get_mut(key).map(|feed| act(&mut feed.channel))
    }

    /// A generation that no log had before.
    pub(super) fn new_epoch(&self) -> LogEpoch {
        self.epochs.next()
    }

    /// All feeds, in an order that doesn't depend on hashes.
    pub(super) fn keys(&self) -> Vec<FeedKey> {
        let mut keys: Vec<_> =
            self.shards.each().flat_map(|shard| shard.keys().cloned().collect::<Vec<_>>()).collect();
        keys.sort_unstable();
        keys
    }

    fn expire(&self, log: &mut Log, now: UnixMillis) {
        if log.bytes() > 0 && log.last_at().plus(self.config.log_ttl) <= now {
            log.trim(0);
        }
    }

    fn account(&self, before: usize, after: usize) {
        if after >= before {
            self.bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    fn sweep_is_due(&self, now: UnixMillis) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.config.logs_max_bytes
            || self.count.load(Ordering::Relaxed) > self.sweep_above_feeds.load(Ordering::Relaxed)
            || self.sweep_at_millis.load(Ordering::Relaxed) <= now.0
    }

    /// Drops what is past its time; then, over a bound, what was untouched for longest. One lock at a time.
    fn sweep(&self, now: UnixMillis) {
        let Some(_only_one) = self.sweep.try_lock() else { return };
        self.sweep_at_millis.store(now.0.saturating_add(SWEEP_EVERY_MILLIS), Ordering::Relaxed);
        let forgotten = now.0.saturating_sub(whole_millis(self.config.feed_ttl));
        let mut coldest = Vec::new();
        for mut shard in self.shards.each() {
            shard.retain(|key, feed| {
                let before = feed.log.bytes();
                self.expire(&mut feed.log, now);
                self.account(before, feed.log.bytes());
                let keep = feed.touched().0 > forgotten || !feed.channel.is_idle() || feed.log.bytes() > 0;
                if keep {
                    coldest.push((feed.touched(), key.clone()));
                } else {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                }
                keep
            });
        }
        let bytes = over(self.bytes.load(Ordering::Relaxed), self.config.logs_max_bytes);
        let feeds = over(self.count.load(Ordering::Relaxed), self.config.feeds_max);
        if bytes + feeds > 0 {
            coldest.sort_unstable();
            self.shed(coldest, bytes, feeds);
        }
        // Feeds that someone listens to stay, however many they are: don't look again at each new one.
        let left = self.count.load(Ordering::Relaxed) + self.config.feeds_max / SWEEP_FREES_ONE_IN;
        self.sweep_above_feeds.store(left.max(self.config.feeds_max), Ordering::Relaxed);
    }

    fn shed(&self, coldest: Vec<(UnixMillis, FeedKey)>, mut bytes: usize, mut feeds: usize) {
        for (_, key) in coldest {
            if bytes + feeds == 0 {
                return;
            }
            let mut shard = self.shards.lock(&key);
            let Some(feed) = shard.get_mut(&key) else { continue };
            let go = feeds > 0 && feed.channel.is_idle();
            let freed = feed.log.shed(if go { usize::MAX } else { bytes });
            self.account(freed, 0);
            bytes = bytes.saturating_sub(freed);
            if go {
                shard.remove(&key);
                self.count.fetch_sub(1, Ordering::Relaxed);
                feeds -= 1;
            }
        }
    }
}

/// How much must go when there is more than `max`: a bit more than the surplus.
fn over(held: usize, max: usize) -> usize {
    if held > max { held - (max - max / SWEEP_FREES_ONE_IN) } else { 0 }
}

/// Names for generations: never the same twice in a process, nor (but by a chance of 2⁻⁶⁴) in two of them.
#[derive(Default)]
struct Epochs {
    random: RandomState,
    count: AtomicU64,
}

impl Epochs {
    fn next(&self) -> LogEpoch {
        let random = self.random.hash_one(self.count.fetch_add(1, Ordering::Relaxed));
        format!("{random:016x}").into()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::live::Subscriber;
    use super::*;
    use crate::application::ports::bus::{LivePayload, LiveSink, LogSlice, ReadFrom};
    use crate::domain::ids::DialogId;

    const NOW: UnixMillis = UnixMillis(1_000_000_000_000);

    fn dialog(n: usize) -> FeedKey {
        FeedKey::Dialog(DialogId::parse(&format!("d{n}")).unwrap())
    }

    fn append(feeds: &Feeds, feed: usize, bytes: usize, now: UnixMillis) {
        feeds
            .with(&dialog(feed), now, |feed| feed.log.append("k", Bytes::from(vec![b'x'; bytes]), now, 1000));
    }

    fn look(feeds: &Feeds, feed: usize, now: UnixMillis) -> LogSlice {
        feeds.with(&dialog(feed), now, |feed| feed.log.read(ReadFrom::AfterOffset(0), 1000))
    }

    #[test]
    fn over_the_byte_bound_the_coldest_logs_lose_their_entries_and_keep_their_place() {
        let feeds = Feeds::new(Config { logs_max_bytes: 80_000, ..Config::default() });
        for n in 0..20 {
            append(&feeds, n, 10_000, NOW.plus(Duration::from_millis(n as u64)));
        }
        assert!(feeds.bytes.load(Ordering::Relaxed) <= 80_000);
        let (cold, warm) = (look(&feeds, 0, NOW), look(&feeds, 19, NOW));
        assert_eq!((cold.head.offset, cold.first_offset, cold.entries.len()), (1, 2, 0));
        assert_eq!((warm.head.offset, warm.first_offset, warm.entries.len()), (1, 1, 1));
    }

    #[test]
    fn one_log_alone_over_the_byte_bound_keeps_its_newest_entries() {
        let feeds = Feeds::new(Config { logs_max_bytes: 80_000, ..Config::default() });
        for _ in 0..20 {
            append(&feeds, 1, 10_000, NOW);
        }
        let slice = look(&feeds, 1, NOW);
        assert!(feeds.bytes.load(Ordering::Relaxed) <= 80_000);
        assert!(slice.entries.len() >= 5);
        assert_eq!(slice.entries.last().map(|entry| entry.offset), Some(20));
    }

    #[test]
    fn a_log_expires_and_its_feed_remembers_epoch_and_offset_for_a_month() {
        let feeds = Feeds::new(Config::default());
        append(&feeds, 1, 10, NOW);
        let fresh = look(&feeds, 1, NOW);

        let next_day = NOW.plus(Duration::from_secs(24 * 3600));
        let expired = look(&feeds, 1, next_day);
        assert_eq!(expired.head, fresh.head);
        assert_eq!((expired.first_offset, expired.entries.len()), (2, 0));
        assert_eq!(feeds.bytes.load(Ordering::Relaxed), 0);

        append(&feeds, 2, 10, NOW.plus(Duration::from_secs(29 * 24 * 3600)));
        assert_eq!(look(&feeds, 1, next_day).head, fresh.head);
        append(&feeds, 2, 10, NOW.plus(Duration::from_secs(31 * 24 * 3600)));
        assert_ne!(look(&feeds, 1, next_day).head.epoch, fresh.head.epoch);
    }

    #[test]
    fn a_log_that_nobody_mentions_expires_too() {
        let feeds = Feeds::new(Config::default());
        append(&feeds, 1, 10_000, NOW);
        append(&feeds, 2, 10, NOW.plus(Duration::from_secs(25 * 3600)));
        assert!(feeds.bytes.load(Ordering::Relaxed) < 10_000);
    }

    #[test]
    fn there_are_only_so_many_feeds_and_those_with_listeners_stay() {
        struct Deaf;
        impl LiveSink for Deaf {
            fn live(&self, _: LivePayload) {}
        }
        let feeds = Feeds::new(Config { feeds_max: 100, ..Config::default() });
        append(&feeds, 0, 10, NOW);
        let epoch = look(&feeds, 0, NOW).head.epoch;
        let subscriber = Subscriber { id: 1, sink: Arc::new(Deaf), ended: Arc::default() };
        feeds.with_channel(&dialog(0), |channel| drop(channel.add(subscriber)));
        for n in 1..1000 {
            append(&feeds, n, 10, NOW.plus(Duration::from_millis(n as u64)));
        }
        assert!(feeds.keys().len() <= 113);
        assert_eq!(feeds.keys().len(), feeds.count.load(Ordering::Relaxed));
        assert_eq!(look(&feeds, 0, NOW).head.epoch, epoch);
        assert_eq!(look(&feeds, 999, NOW).head.offset, 1);
    }
}
