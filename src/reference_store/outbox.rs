//! The transactional outbox: what happened is written with the change itself, and appended to the bus afterwards.
//!
//! Within a feed events are appended in the order of their commits. An event may be appended twice (when its append
//! succeeded and nobody heard of it); the bus knows it again by its key.

use std::collections::{HashMap, HashSet};
use std::future::{pending, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use rusqlite::params;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::events::Publication;
use super::failure::Failure;
use super::transactions::{Transaction, Transactions};
use crate::application::ports::bus::{BusError, EVENT_KEY_WINDOW, EventLog};
use crate::domain::ids::{DialogId, FeedKey, UserId};

/// Most events between two visits to the database. Half of the bus's window for repeated keys: after a crash all that
/// is appended again is recognized, with room for what others append to the same feed.
const BATCH_ROWS_MAX: usize = EVENT_KEY_WINDOW / 2;
/// Most rows that are looked at for a batch, those of held feeds included.
const SCAN_ROWS_MAX: u32 = 4096;
/// Most feeds that are appended to at once.
const FEEDS_AT_ONCE_MAX: usize = 16;
/// Longest wait for one append.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failure; doubles up to the longest.
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Puts an event into the outbox, within the change's own transaction.
pub(super) fn enqueue(tx: &Transaction<'_>, publication: &Publication) -> Result<(), Failure> {
    tx.statement("INSERT INTO outbox (feed, event_key, event) VALUES (?1, ?2, ?3)")?.execute(params![
        publication.feed.to_string(),
        publication.event_key,
        publication.event
    ])?;
    tx.outbox_filled();
    Ok(())
}

struct Row {
    id: i64,
    feed: FeedKey,
    event_key: String,
    event: Bytes,
}

/// Moves events from the outbox to the bus. There must be only one per database, or a feed loses its order.
pub(super) struct Publisher {
    transactions: Transactions,
    log: Arc<dyn EventLog>,
    committed: Arc<Notify>,
}

impl Publisher {
    pub(super) fn new(transactions: Transactions, log: Arc<dyn EventLog>, committed: Arc<Notify>) -> Self {
        Self { transactions, log, committed }
    }

    /// Publishes until `stop`. What is not published by then stays for the next time.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut published = Vec::new();
        let mut held = HeldFeeds::default();
        loop {
            held.release_if_due();
            let (done, skip) = (published.clone(), held.feeds.clone());
            match self.transactions.run(move |tx| exchange(tx, &done, &skip)).await {
                // What has just been read stays for the next time.
                Ok(_) if stop.is_cancelled() => return,
                Ok(batch) if batch.is_empty() => {
                    published.clear();
                    let more = async {
                        tokio::select! {
                            () = self.committed.notified() => {}
                            () = held.due() => {}
                        }
                    };
                    stop.run_until_cancelled(more).await;
                }
                Ok(batch) => {
                    let outcome = self.publish(batch).await;
                    published = outcome.done;
                    held.hold(outcome.failed);
                }
                Err(failure) => {
                    tracing::error!(%failure, "the outbox can't be read");
                    if stop.run_until_cancelled(sleep(BACKOFF_MAX)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Appends what it can. A feed stops at its first failure; the others go on.
    async fn publish(&self, batch: Vec<Row>) -> Outcome {
        stream::iter(by_feed(batch))
            .map(|rows| self.publish_in_order(rows))
            .buffer_unordered(FEEDS_AT_ONCE_MAX)
            .fold(Outcome::default(), |mut all, one| {
                all.done.extend(one.done);
                all.failed.extend(one.failed);
                ready(all)
            })
            .await
    }

    async fn publish_in_order(&self, rows: Vec<Row>) -> Outcome {
        let mut outcome = Outcome::default();
        for row in rows {
            let append = self.log.append(&row.feed, &row.event_key, row.event);
            match timeout(APPEND_TIMEOUT, append).await.unwrap_or(Err(BusError::Unavailable)) {
                Ok(_) => {}
                Err(BusError::TooLarge) => {
                    // It will never be appended: keeping it would silence the feed for ever.
                    tracing::error!(feed = %row.feed, event_key = row.event_key, "an event is too large: dropped");
                }
                Err(BusError::Unavailable) => {
                    tracing::warn!(feed = %row.feed, "the bus takes no events: they wait in the outbox");
                    outcome.failed.push(row.feed.to_string());
                    break;
                }
            }
            outcome.done.push(row.id);
        }
        outcome
    }
}

/// What came of a batch.
#[derive(Default)]
struct Outcome {
    done: Vec<i64>,
    failed: Vec<String>,
}

/// Feeds that could not be appended to: passed over for a while, so that they don't hold up the others. One part of a
/// bus may be down while the rest works.
struct HeldFeeds {
    feeds: HashSet<String>,
    until: Instant,
    pause: Duration,
}

impl Default for HeldFeeds {
    fn default() -> Self {
        Self { feeds: HashSet::new(), until: Instant::now(), pause: BACKOFF_BASE }
    }
}

impl HeldFeeds {
    fn hold(&mut self, failed: Vec<String>) {
        if failed.is_empty() {
            if self.feeds.is_empty() {
                self.pause = BACKOFF_BASE;
            }
            return;
        }
        if self.feeds.is_empty() {
            self.until = Instant::now() + self.pause;
            self.pause = (self.pause * 2).min(BACKOFF_MAX);
        }
        self.feeds.extend(failed);
    }

    fn release_if_due(&mut self) {
        if Instant::now() >= self.until {
            self.feeds.clear();
        }
    }

    /// Ends when the held feeds are to be tried again; never when there are none.
    async fn due(&self) {
        if self.feeds.is_empty() {
            pending::<()>().await;
        }
        sleep_until(self.until).await;
    }
}

/// Forgets what is published and reads what is next: one visit to the database for both.
fn exchange(tx: &Transaction<'_>, published: &[i64], held: &HashSet<String>) -> Result<Vec<Row>, Failure> {
    for id in published {
        tx.statement("DELETE FROM outbox WHERE id = ?1")?.execute([id])?;
    }
    let mut statement = tx.statement("SELECT id, feed, event_key, event FROM outbox ORDER BY id LIMIT ?1")?;
    let mut rows = statement.query([SCAN_ROWS_MAX])?;
    let mut batch = Vec::new();
    while batch.len() < BATCH_ROWS_MAX
        && let Some(row) = rows.next()?
    {
        let feed = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        if !held.contains(feed) {
            batch.push(Row {
                id: row.get(0)?,
                feed: parse_feed(feed)?,
                event_key: row.get(2)?,
                event: Bytes::from(row.get::<_, String>(3)?),
            });
        }
    }
    Ok(batch)
}

fn parse_feed(text: &str) -> Result<FeedKey, Failure> {
    let feed = match text.split_once(':') {
        Some(("d", id)) => DialogId::parse(id).map(FeedKey::Dialog),
        Some(("u", id)) => UserId::parse(id).map(FeedKey::User),
        _ => return Err(Failure::Internal),
    };
    feed.map_err(|_| Failure::Internal)
}

/// The rows of each feed, in their order.
fn by_feed(batch: Vec<Row>) -> Vec<Vec<Row>> {
    let mut feeds: Vec<Vec<Row>> = Vec::new();
    let mut places: HashMap<FeedKey, usize> = HashMap::new();
    for row in batch {
        let place = *places.entry(row.feed.clone()).or_insert_with(|| {
            feeds.push(Vec::new());
            feeds.len() - 1
        });
        feeds[place].push(row);
    }
    feeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_comes_back_from_the_database_as_it_was() {
        for feed in [
            FeedKey::Dialog(DialogId::parse("d:with:colons").unwrap()),
            FeedKey::User(UserId::parse("alice@x").unwrap()),
        ] {
            assert_eq!(parse_feed(&feed.to_string()), Ok(feed));
        }
        assert_eq!(parse_feed("x:1"), Err(Failure::Internal));
    }

    #[test]
    fn rows_are_grouped_by_feed_and_keep_their_order() {
        let row = |id, feed: &str| Row {
            id,
            feed: parse_feed(feed).unwrap(),
            event_key: String::new(),
            event: Bytes::new(),
        };
        let groups = by_feed(vec![row(1, "d:a"), row(2, "u:a"), row(3, "d:a"), row(4, "d:b"), row(5, "u:a")]);
        let ids: Vec<Vec<i64>> = groups.iter().map(|rows| rows.iter().map(|row| row.id).collect()).collect();
        assert_eq!(ids, [vec![1, 3], vec![2, 5], vec![4]]);
    }
}
