//! A sink that remembers what it was told.

use std::time::Duration;

use edgeway::application::ports::bus::{LivePayload, LiveSink, LogEntry};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Remembers all payloads, in order.
#[derive(Default)]
pub(crate) struct Recorder {
    heard: Mutex<Vec<LivePayload>>,
    news: Notify,
}

impl LiveSink for Recorder {
    fn live(&self, payload: LivePayload) {
        self.heard.lock().push(payload);
        self.news.notify_waiters();
    }
}

impl Recorder {
    /// What was heard so far.
    pub(crate) fn so_far(&self) -> Vec<LivePayload> {
        self.heard.lock().clone()
    }

    /// What was heard, once it is this many payloads or more.
    pub(crate) async fn at_least(&self, count: usize) -> Vec<LivePayload> {
        self.once(|heard| heard.len() >= count).await
    }

    /// The entries among what was heard, once it is this many payloads or more.
    pub(crate) async fn entries(&self, count: usize) -> Vec<LogEntry> {
        self.at_least(count).await.into_iter().filter_map(logged).collect()
    }

    /// The entries among what was heard, once the one with this offset is the last.
    pub(crate) async fn entries_until(&self, offset: u64) -> Vec<LogEntry> {
        let is_last =
            |last: &LivePayload| matches!(last, LivePayload::Logged(entry) if entry.offset == offset);
        self.once(|heard| heard.last().is_some_and(is_last)).await.into_iter().filter_map(logged).collect()
    }

    async fn once(&self, enough: impl Fn(&[LivePayload]) -> bool) -> Vec<LivePayload> {
        let waited = async {
            loop {
                let news = self.news.notified();
                let heard = self.so_far();
                if enough(&heard) {
                    return heard;
                }
                news.await;
            }
        };
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(heard) => heard,
            Err(_) => panic!("waited in vain, heard only {:?}", self.so_far()),
        }
    }
}

fn logged(payload: LivePayload) -> Option<LogEntry> {
    match payload {
        LivePayload::Logged(entry) => Some(entry),
        LivePayload::Ephemeral(_) | LivePayload::Garbage(_) | LivePayload::Interrupted => None,
    }
}
