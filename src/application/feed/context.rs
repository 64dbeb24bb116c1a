//! What all feeds of a node share.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::application::ports::bus::EventBus;
use crate::application::ports::codec::{EventCodec, Undecodable};
use crate::application::ports::telemetry::occurrence::{Occurrence, Telemetry};
use crate::application::pressure::Pressure;
use crate::application::sessions::live::LiveSession;
use crate::domain::event::{Event, NodeWord};
use crate::domain::ids::{DialogId, FeedKey, UserId};

/// Looks after a session in which something has come up that a push can't settle: a log to read, a dialog to leave.
pub trait Caretaker: Send + Sync {
    /// Called without any lock held; must not block.
    fn attend(&self, session: &Arc<LiveSession>);

    /// A user has joined or left a dialog: what was remembered of it is old.
    fn membership_changed(&self, user: &UserId, dialog: &DialogId);

    /// What nodes have said about this session may have been missed.
    fn words_missed(&self, session: &Arc<LiveSession>);

    /// A node has something to say about a session of the user whose feed this is.
    fn node_said(&self, feed: &FeedKey, word: &NodeWord);
}

/// The ports and the company of all feeds.
pub struct FeedContext {
    /// Where events come from.
    pub bus: Arc<dyn EventBus>,
    /// How they are read.
    pub codec: Arc<dyn EventCodec>,
    /// Where it is counted.
    pub telemetry: Arc<dyn Telemetry>,
    /// Who looks after sessions.
    pub caretaker: Arc<dyn Caretaker>,
    /// Owns every task that a feed starts.
    pub tasks: TaskTracker,
    /// How close the node is to its memory budget.
    pub pressure: Option<Arc<Pressure>>,
    logged_kinds: Mutex<Vec<Undecodable>>,
}

impl FeedContext {
    /// Puts it together.
    #[must_use]
    pub fn new(
        bus: Arc<dyn EventBus>,
        codec: Arc<dyn EventCodec>,
        telemetry: Arc<dyn Telemetry>,
        caretaker: Arc<dyn Caretaker>,
        tasks: TaskTracker,
    ) -> Self {
        Self { bus, codec, telemetry, caretaker, tasks, pressure: None, logged_kinds: Mutex::new(Vec::new()) }
    }

    /// The same within a memory budget.
    #[must_use]
    pub fn within(self, pressure: Arc<Pressure>) -> Self {
        Self { pressure: Some(pressure), ..self }
    }

    /// A new event whose body is counted.
    #[must_use]
    pub fn counted(&self, mut event: Event) -> Arc<Event> {
        if let Some(pressure) = &self.pressure {
            event.body = pressure.ledger().count(event.body);
        }
        Arc::new(event)
    }

    /// Counts a payload that is skipped; logs the first of its kind.
    pub fn skipped(&self, feed: &FeedKey, why: Undecodable) {
        self.telemetry.record(Occurrence::PayloadSkipped(why));
        let mut kinds = self.logged_kinds.lock();
        if !kinds.contains(&why) {
            kinds.push(why);
            drop(kinds);
            tracing::warn!(%feed, kind = why.as_str(), "payload skipped (told once per kind)");
        }
    }
}
