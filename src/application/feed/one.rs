//! One feed: connected once, and in order.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::context::FeedContext;
use super::standing::{MessageSeq, Standing, State};
use super::subscribers::{Closed, Slot, Subscribers};
use crate::application::ports::bus::{
    BusError, LivePayload, LiveSink, LiveSubscription, LogEntry, LogSlice, ReadFrom,
};
use crate::application::ports::telemetry::labels::RepairReason;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::sessions::live::LiveSession;
use crate::domain::event::{Event, EventKind, LogPosition};
use crate::domain::ids::FeedKey;
use crate::domain::time::UnixMillis;

/// How many of a log's newest entries are searched for a message.
const MESSAGE_WINDOW_ENTRIES: usize = 16;

/// One dialog (or user) on this node.
pub struct Feed {
    pub(super) key: FeedKey,
    pub(super) context: Arc<FeedContext>,
    pub(super) state: Mutex<State>,
    pub(super) subscribers: Mutex<Subscribers>,
    subscription: OnceLock<Box<dyn LiveSubscription>>,
}

/// What a feed does next.
enum Work {
    Repair(RepairReason),
    Payloads(VecDeque<LivePayload>),
}

/// Forwards the link's payloads; the feed may be gone.
struct Inlet(std::sync::Weak<Feed>);

impl LiveSink for Inlet {
    fn live(&self, payload: LivePayload) {
        if let Some(feed) = self.0.upgrade() {
            feed.take_in(payload);
        }
    }
}

impl Feed {
    /// A feed that is not connected yet: see [`Feed::connect`].
    #[must_use]
    pub fn new(key: FeedKey, context: Arc<FeedContext>) -> Arc<Self> {
        Arc::new(Self {
            key,
            context,
            state: Mutex::new(State::default()),
            subscribers: Mutex::new(Subscribers::default()),
            subscription: OnceLock::new(),
        })
    }

    /// Whose feed it is.
    #[must_use]
    pub fn key(&self) -> &FeedKey {
        &self.key
    }

    /// Subscribes to the live channel, then reads where the log stands. Done once; callers at the same time share it.
    ///
    /// # Errors
    /// [`BusError`]; the next caller tries again.
    pub async fn connect(self: &Arc<Self>) -> Result<(), BusError> {
        if self.subscription.get().is_none() {
            let connecting = self.state.lock().connecting.get_or_insert_default().clone();
            let _others_wait = connecting.lock().await;
            if self.subscription.get().is_none() {
                self.subscribe().await?;
            }
            self.state.lock().connecting = None;
        }
        self.wake();
        Ok(())
    }

    async fn subscribe(self: &Arc<Self>) -> Result<(), BusError> {
        let subscription =
            self.context.bus.subscribe(&self.key, Arc::new(Inlet(Arc::downgrade(self)))).await?;
        let slice = self.context.bus.read(&self.key, ReadFrom::Newest, 1).await?;
        let newest = slice.entries.last().and_then(|entry| self.read_message(entry));
        let mut state = self.state.lock();
        state.position_at = slice.entries.last().map_or(UnixMillis(0), |entry| entry.at);
        state.position = Some(slice.head);
        state.message_seq = match newest {
            Some(seq) => MessageSeq::Known(seq),
            None if slice.entries.is_empty() => MessageSeq::Unknown,
            None => MessageSeq::Unasked,
        };
        drop(state);
        // One at a time comes here, and only if there is none.
        let _ = self.subscription.set(subscription);
        Ok(())
    }

    /// The last offset that was pushed.
    #[must_use]
    pub fn position(&self) -> Option<LogPosition> {
        self.state.lock().position.clone()
    }

    /// The same, and the newest message up to there.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let state = self.state.lock();
        let message_seq = if let MessageSeq::Known(seq) = state.message_seq { seq } else { 0 };
        Some(Standing { position: state.position.clone()?, message_seq })
    }

    /// Looks for the newest message in the log, once, if it is not known.
    ///
    /// # Errors
    /// [`BusError`].
    pub async fn find_message(&self) -> Result<(), BusError> {
        if self.state.lock().message_seq != MessageSeq::Unasked {
            return Ok(());
        }
        let slice = self.read(ReadFrom::Newest, MESSAGE_WINDOW_ENTRIES).await?;
        let found = slice.entries.iter().rev().find_map(|entry| self.read_message(entry));
        let mut state = self.state.lock();
        // Else the feed has moved on, or will in a moment: who asks now does not know.
        if state.message_seq == MessageSeq::Unasked && state.position.as_ref() == Some(&slice.head) {
            state.message_seq = found.map_or(MessageSeq::Unknown, MessageSeq::Known);
        }
        Ok(())
    }

    fn read_message(&self, entry: &LogEntry) -> Option<u64> {
        match self.context.codec.decode_logged(&self.key, entry).ok()?.kind {
            EventKind::Message { seq, .. } => Some(seq),
            _ => None,
        }
    }

    /// Whether anything was appended at or after this bus time, as far as the feed has come.
    #[must_use]
    pub fn moved_since(&self, at: UnixMillis) -> bool {
        self.state.lock().position_at >= at
    }

    /// Adds a follower.
    ///
    /// # Errors
    /// [`Closed`] when the feed has been given up meanwhile.
    pub fn join(&self, session: Arc<LiveSession>) -> Result<Slot, Closed> {
        self.subscribers.lock().insert(session)
    }

    /// Takes a follower out.
    pub fn leave(&self, slot: Slot, session: &Arc<LiveSession>) {
        self.subscribers.lock().remove(slot, session);
    }

    /// Whether nobody follows.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.subscribers.lock().is_empty()
    }

    /// Gives the feed up if nobody follows.
    pub fn close_if_idle(&self) -> bool {
        self.subscribers.lock().close_if_empty()
    }

    /// The events after a position, from memory, if they are there; and where the feed stands.
    #[must_use]
    pub fn recent_after(&self, position: &LogPosition) -> Option<(Vec<Arc<Event>>, LogPosition)> {
        let state = self.state.lock();
        let head = state.position.clone()?;
        if head.epoch != position.epoch || state.distrust.is_some() || state.repairing {
            return None;
        }
        let events = state.recent.after(position.offset, &head)?.cloned().collect();
        Some((events, head))
    }

    /// Reads the log and decodes what it says.
    ///
    /// # Errors
    /// [`BusError`].
    pub async fn read(&self, from: ReadFrom, limit: usize) -> Result<LogSlice, BusError> {
        self.context.bus.read(&self.key, from, limit).await
    }

    /// An entry as an event; what can't be decoded is counted.
    #[must_use]
    pub fn decode(&self, entry: &LogEntry) -> Option<Arc<Event>> {
        match self.context.codec.decode_logged(&self.key, entry) {
            Ok(event) => Some(self.context.counted(event)),
            Err(why) => {
                self.context.skipped(&self.key, why);
                None
            }
        }
    }

    fn take_in(self: &Arc<Self>, payload: LivePayload) {
        {
            let mut state = self.state.lock();
            match payload {
                LivePayload::Interrupted => {
                    state.distrust = Some(RepairReason::Interrupted);
                }
                LivePayload::Ephemeral(_) if state.inbox.is_full() => {
                    self.context.telemetry.record(Occurrence::EphemeralDropped);
                }
                LivePayload::Logged(_) if state.inbox.is_full() => {
                    state.distrust.get_or_insert(RepairReason::Overflow);
                }
                LivePayload::Garbage(why) => {
                    drop(state);
                    return self.context.skipped(&self.key, why);
                }
                payload => state.inbox.push(payload),
            }
        }
        self.wake();
    }

    /// Starts work if there is any and nobody works yet.
    pub(super) fn wake(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            let idle = state.inbox.is_empty() && state.distrust.is_none();
            if state.running || idle || state.position.is_none() {
                return;
            }
            state.running = true;
        }
        let feed = self.clone();
        self.context.tasks.spawn(async move {
            while AssertUnwindSafe(feed.run()).catch_unwind().await.is_err() {
                feed.recover().await;
            }
        });
    }

    async fn run(self: &Arc<Self>) {
        while let Some(work) = self.next_work() {
            match work {
                Work::Repair(reason) => self.repair(reason).await,
                Work::Payloads(payloads) => {
                    for payload in payloads {
                        self.work_off(payload).await;
                    }
                }
            }
        }
    }

    fn next_work(&self) -> Option<Work> {
        let mut state = self.state.lock();
        if let Some(reason) = state.distrust {
            return Some(Work::Repair(reason));
        }
        if state.inbox.is_empty() {
            state.running = false;
            return None;
        }
        Some(Work::Payloads(state.inbox.take_batch()))
    }

    async fn work_off(self: &Arc<Self>, payload: LivePayload) {
        match payload {
            LivePayload::Ephemeral(json) => match self.context.codec.decode_ephemeral(&self.key, &json) {
                Ok(event) => self.broadcast(&Arc::new(event)).await,
                Err(why) => self.context.skipped(&self.key, why),
            },
            LivePayload::Logged(entry) => {
                let suspicion = self.suspicion(&entry);
                match suspicion {
                    Some(Some(reason)) => {
                        self.state.lock().distrust.get_or_insert(reason);
                        self.repair(reason).await;
                    }
                    Some(None) => self.advance(&entry).await,
                    None => {}
                }
            }
            // Neither of them ever waits.
            LivePayload::Garbage(_) | LivePayload::Interrupted => {}
        }
    }

    /// Decodes the entry after the position, and pushes it.
    pub(super) async fn advance(self: &Arc<Self>, entry: &LogEntry) {
        let event = self.decode(entry);
        {
            let mut state = self.state.lock();
            state.position = Some(LogPosition { epoch: entry.epoch.clone(), offset: entry.offset });
            state.position_at = entry.at;
            if let Some(event) = &event {
                state.note_message(event);
            }
            state.recent.push(event.clone());
        }
        match event {
            Some(event) => self.broadcast(&event).await,
            // The sessions must not take the next offset for a hole.
            None => self.pass_over(entry).await,
        }
    }

    /// Forgets the newest events: who is behind reads the log.
    pub fn forget_recent(&self) {
        self.state.lock().recent.clear();
    }
}
