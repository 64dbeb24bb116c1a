//! Session records, kept in the process: a session outlives its memory's budget, though not the process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hashlink::LinkedHashMap;

use super::sharded::{SHARDS, Sharded};
use crate::application::ports::bus::BusError;
use crate::application::ports::clock::Clock;
use crate::application::ports::records::{Saved, SessionRecords};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::UnixMillis;
use crate::session::snapshot::SessionSnapshot;

/// Most records that are kept; those saved least recently go first.
pub const RECORDS_MAX: usize = 100_000;
/// Most subscriptions in all records (about 80 bytes each); the same records go first.
pub const RECORDED_SUBSCRIPTIONS_MAX: usize = 4_000_000;

const RECORDS_MAX_PER_SHARD: usize = RECORDS_MAX / SHARDS;
const SUBSCRIPTIONS_MAX_PER_SHARD: usize = RECORDED_SUBSCRIPTIONS_MAX / SHARDS;

/// How long records live.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long a record is kept after it was last saved.
    pub ttl: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(24 * 3600) }
    }
}

struct Record {
    snapshot: SessionSnapshot,
    saved: UnixMillis,
}

#[derive(Default)]
struct Records {
    /// In the order in which they were saved.
    by_id: LinkedHashMap<SessionId, Record>,
    subscriptions: usize,
}

impl Records {
    fn save(&mut self, record: Record, ttl: Duration) {
        self.remove(&record.snapshot.id.clone());
        self.subscriptions += size_of_record(&record.snapshot);
        let now = record.saved;
        self.by_id.insert(record.snapshot.id.clone(), record);
        while self.is_over() || self.by_id.front().is_some_and(|(_, oldest)| oldest.saved.plus(ttl) <= now) {
            let Some((_, oldest)) = self.by_id.pop_front() else { return };
            self.subscriptions -= size_of_record(&oldest.snapshot);
        }
    }

    fn is_over(&self) -> bool {
        self.by_id.len() > RECORDS_MAX_PER_SHARD || self.subscriptions > SUBSCRIPTIONS_MAX_PER_SHARD
    }

    fn remove(&mut self, session: &SessionId) {
        if let Some(record) = self.by_id.remove(session) {
            self.subscriptions -= size_of_record(&record.snapshot);
        }
    }
}

/// Keeps session records in the process.
pub struct MemorySessionRecords {
    config: Config,
    clock: Arc<dyn Clock>,
    records: Sharded<Records>,
}

impl MemorySessionRecords {
    /// No records yet.
    #[must_use]
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, records: Sharded::default() }
    }
}

#[async_trait]
impl SessionRecords for MemorySessionRecords {
    async fn save(&self, snapshot: &SessionSnapshot) -> Result<Saved, BusError> {
        let record = Record { snapshot: snapshot.clone(), saved: self.clock.unix() };
        let mut records = self.records.lock(&snapshot.id);
        if let Some(Record { snapshot: known, .. }) = records.by_id.get(&snapshot.id) {
            let (held, claimed) = (known.acknowledged.epoch, snapshot.acknowledged.epoch);
            if held > claimed {
                return Ok(Saved::Superseded);
            }
            // Of no other node: there is none.
            if held == claimed && known.revision > snapshot.revision {
                return Ok(Saved::Written);
            }
        }
        records.save(record, self.config.ttl);
        Ok(Saved::Written)
    }

    async fn load(&self, session: &SessionId) -> Result<Option<SessionSnapshot>, BusError> {
        let now = self.clock.unix();
        let mut records = self.records.lock(session);
        let Some(record) = records.by_id.get(session) else { return Ok(None) };
        if record.saved.plus(self.config.ttl) <= now {
            records.remove(session);
            return Ok(None);
        }
        Ok(Some(record.snapshot.clone()))
    }

    async fn forget_user(&self, user: &UserId) -> Result<(), BusError> {
        for mut records in self.records.each() {
            let of_user = records.by_id.iter().filter(|(_, record)| record.snapshot.user_id == *user);
            let ids: Vec<SessionId> = of_user.map(|(id, _)| id.clone()).collect();
            for id in ids {
                records.remove(&id);
            }
        }
        Ok(())
    }

    async fn remove(&self, session: &SessionId, user: &UserId) -> Result<(), BusError> {
        let mut records = self.records.lock(session);
        if records.by_id.get(session).is_some_and(|record| record.snapshot.user_id == *user) {
            records.remove(session);
        }
        Ok(())
    }
}

/// What a record weighs: its subscriptions, and what it remembers of the queue.
fn size_of_record(snapshot: &SessionSnapshot) -> usize {
    snapshot.subscriptions.len() + snapshot.sent.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::clock::ManualClock;
    use crate::domain::event::LogPosition;
    use crate::domain::ids::{DialogId, FeedKey};
    use crate::session::cursor::Cursor;
    use crate::session::snapshot::{SubscribeOptions, SubscriptionSnapshot};
    use crate::session::subscriptions::Confirmed;

    fn id(n: usize) -> SessionId {
        SessionId::parse(&format!("s{n}")).unwrap()
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn snapshot(n: usize, subscriptions: usize) -> SessionSnapshot {
        let subscription = SubscriptionSnapshot {
            feed: FeedKey::Dialog(DialogId::parse("d").unwrap()),
            delivered: LogPosition { epoch: "e".into(), offset: 1 },
            numbered: Some(1),
            last_message_seq: 1,
            in_step: None,
            confirmed: Confirmed {
                feed: LogPosition { epoch: "e".into(), offset: 0 },
                own: None,
                at: UnixMillis(1),
            },
            options: SubscribeOptions { presence: false, typing: true },
        };
        SessionSnapshot {
            id: id(n),
            user_id: user("a"),
            device_id: None,
            first_epoch: 1,
            acknowledged: Cursor { epoch: 1, number: 2, watermark: UnixMillis(3) },
            newest: 2,
            delivered_as_of: (1, 2),
            highest_attach: None,
            revision: 0,
            based_on: None,
            sent: Box::default(),
            delivered_exactly: true,
            exact_from: Some(2),
            follow_all: None,
            subscriptions: vec![subscription; subscriptions].into(),
        }
    }

    fn records() -> (Arc<ManualClock>, MemorySessionRecords) {
        let clock = Arc::new(ManualClock::at(UnixMillis(1_000_000)));
        (clock.clone(), MemorySessionRecords::new(Config::default(), clock))
    }

    #[tokio::test]
    async fn a_record_is_loaded_as_it_was_saved_last() {
        let (_, records) = records();
        assert_eq!(records.load(&id(1)).await, Ok(None));
        records.save(&snapshot(1, 1)).await.unwrap();
        records.save(&snapshot(1, 2)).await.unwrap();
        assert_eq!(records.load(&id(1)).await, Ok(Some(snapshot(1, 2))));
    }

    #[tokio::test]
    async fn only_its_user_ends_a_session() {
        let (_, records) = records();
        records.save(&snapshot(1, 1)).await.unwrap();
        records.remove(&id(1), &user("b")).await.unwrap();
        assert_eq!(records.load(&id(1)).await, Ok(Some(snapshot(1, 1))));
        records.remove(&id(1), &user("a")).await.unwrap();
        assert_eq!(records.load(&id(1)).await, Ok(None));
    }

    #[tokio::test]
    async fn a_record_lives_a_day_after_its_last_save() {
        let (clock, records) = records();
        let hour = Duration::from_secs(3600);
        records.save(&snapshot(1, 1)).await.unwrap();
        clock.advance(23 * hour);
        records.save(&snapshot(1, 1)).await.unwrap();
        clock.advance(23 * hour);
        assert!(records.load(&id(1)).await.unwrap().is_some());
        clock.advance(hour);
        assert_eq!(records.load(&id(1)).await, Ok(None));
    }

    #[tokio::test]
    async fn there_are_only_so_many_and_the_oldest_go_first() {
        let (_, records) = records();
        for n in 0..RECORDS_MAX + RECORDS_MAX / 2 {
            records.save(&snapshot(n, 0)).await.unwrap();
        }
        assert!(records.records.each().map(|records| records.by_id.len()).sum::<usize>() <= RECORDS_MAX);
        assert_eq!(records.load(&id(0)).await, Ok(None));
        assert!(records.load(&id(RECORDS_MAX + RECORDS_MAX / 2 - 1)).await.unwrap().is_some());
    }

    #[test]
    fn large_records_count_for_more() {
        let mut records = Records::default();
        for n in 0..RECORDS_MAX_PER_SHARD {
            let record = Record { snapshot: snapshot(n, 1000), saved: UnixMillis(1) };
            records.save(record, Config::default().ttl);
        }
        assert_eq!(records.by_id.len(), SUBSCRIPTIONS_MAX_PER_SHARD / 1000);
        assert!(records.subscriptions <= SUBSCRIPTIONS_MAX_PER_SHARD);
        let total: usize = records.by_id.values().map(|record| size_of_record(&record.snapshot)).sum();
        assert_eq!(records.subscriptions, total);
    }
}
