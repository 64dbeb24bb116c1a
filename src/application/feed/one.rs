//! One feed: order, repair, fan-out.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::context::FeedContext;
use super::inbox::Inbox;
use super::recent::Recent;
use super::subscribers::{Closed, Slot, Subscribers};
use crate::application::ports::bus::{
    BusError, LivePayload, LiveSink, LiveSubscription, LogEntry, LogSlice, ReadFrom,
};
use crate::application::ports::telemetry::labels::{Limit, RepairReason};
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::pressure::Stage;
use crate::application::sessions::live::LiveSession;
use crate::domain::event::{Event, EventKind, LogPosition};
use crate::domain::ids::FeedKey;
use crate::domain::time::UnixMillis;

/// Entries a repair reads at once.
const REPAIR_PAGE_ENTRIES: usize = 256;
/// Sessions a broadcast serves before it lets others run.
const BROADCAST_SLICE_SESSIONS: usize = 1024;
/// How many of a log's newest entries are searched for a message.
const MESSAGE_WINDOW_ENTRIES: usize = 16;
/// First wait before a failed repair is tried again.
const REPAIR_BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest wait before a failed repair is tried again.
const REPAIR_BACKOFF_MAX: Duration = Duration::from_secs(2);

/// One dialog (or user) on this node.
pub struct Feed {
    key: FeedKey,
    context: Arc<FeedContext>,
    state: Mutex<State>,
    subscribers: Mutex<Subscribers>,
    subscription: OnceLock<Box<dyn LiveSubscription>>,
}

#[derive(Default)]
struct State {
    inbox: Inbox,
    /// Held by whoever connects the feed; gone once it is connected.
    connecting: Option<Arc<tokio::sync::Mutex<()>>>,
    /// The inbox was full, or the link was interrupted, or the audit saw more than we have.
    distrust: Option<RepairReason>,
    running: bool,
    /// A repair is under way: what is in `recent` is not all there is.
    repairing: bool,
    /// The last offset that was pushed; `None` until the head has been read.
    position: Option<LogPosition>,
    /// When the entry at the position was appended; 1970 if there is none.
    position_at: UnixMillis,
    message_seq: MessageSeq,
    recent: Recent,
}

/// The `seq` of the newest message up to a feed's position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum MessageSeq {
    /// Nobody has asked yet, and no message has come.
    #[default]
    Unasked,
    /// The log's newest entries don't tell.
    Unknown,
    Known(u64),
}

/// Where a feed stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The last offset that was pushed.
    pub position: LogPosition,
    /// `seq` of the newest message up to there; 0 if that is not known. The Store's own word may be ahead of the log.
    pub message_seq: u64,
}

impl State {
    fn note_message(&mut self, event: &Event) {
        if let EventKind::Message { seq, .. } = event.kind {
            self.message_seq = MessageSeq::Known(seq);
        }
    }
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

    /// The audit's word on where the log stands: anything that the feed does not have is read. `asked` is where the feed
    /// stood before the log was asked: what comes in between is no news.
    pub fn audit(self: &Arc<Self>, asked: Option<&LogPosition>, head: &LogPosition) {
        let mut state = self.state.lock();
        let (Some(asked), Some(position)) = (asked, state.position.as_ref()) else { return };
        let is_new = position.epoch != head.epoch && position.epoch == asked.epoch;
        let is_behind = position.epoch == head.epoch && position.offset < head.offset;
        let is_rewound = asked.epoch == head.epoch && head.offset < asked.offset;
        // A payload may be on its way in right now; the repair finds out.
        if (is_new || is_behind || is_rewound) && state.inbox.is_empty() {
            state.distrust.get_or_insert(RepairReason::Audit);
            drop(state);
            self.wake();
        }
    }

    /// A session has read the log for itself, which ended at `head`. A log that is not the one that the feed knows is news
    /// for the feed, too. `asked` is as in [`Feed::audit`].
    pub fn learn(self: &Arc<Self>, asked: Option<&LogPosition>, head: &LogPosition) {
        let mut state = self.state.lock();
        let (Some(asked), Some(position)) = (asked, state.position.as_ref()) else { return };
        if position.epoch == asked.epoch && position.epoch != head.epoch {
            state.distrust.get_or_insert(RepairReason::NewEpoch);
            drop(state);
            self.wake();
        }
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
    fn wake(self: &Arc<Self>) {
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

    /// A panic must not silence the dialog on this node: what was being pushed is read again, by the feed and by every
    /// session for itself.
    async fn recover(&self) {
        tracing::error!(feed = %self.key, "a feed panicked: its log is read again");
        tokio::time::sleep(REPAIR_BACKOFF_MAX).await;
        let mut state = self.state.lock();
        state.repairing = false;
        state.distrust = Some(RepairReason::Panicked);
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

    /// `None`: known already. `Some(None)`: the next one. `Some(Some(reason))`: something is missing before it.
    fn suspicion(&self, entry: &LogEntry) -> Option<Option<RepairReason>> {
        let state = self.state.lock();
        let position = state.position.as_ref()?;
        if position.epoch != entry.epoch {
            Some(Some(RepairReason::NewEpoch))
        } else if entry.offset <= position.offset {
            None
        } else if entry.offset > position.offset + 1 {
            Some(Some(RepairReason::Hole))
        } else {
            Some(None)
        }
    }

    /// Decodes the entry after the position, and pushes it.
    async fn advance(self: &Arc<Self>, entry: &LogEntry) {
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

    /// Reads the log once for all followers, and goes on in order. Tries until it succeeds or nobody follows.
    async fn repair(self: &Arc<Self>, reason: RepairReason) {
        self.context.telemetry.record(Occurrence::Repaired(reason));
        if reason == RepairReason::Panicked {
            // Some were pushed what the others were not.
            self.distrust_all().await;
        }
        let words_lost = matches!(reason, RepairReason::Interrupted | RepairReason::Panicked);
        if words_lost && self.key.dialog().is_none() {
            // No log gives back what nodes say to each other.
            self.each_session(|session| {
                self.context.caretaker.words_missed(session);
                false
            })
            .await;
        }
        let mut wait = REPAIR_BACKOFF_FIRST;
        loop {
            // From here on a new interruption counts again.
            {
                let mut state = self.state.lock();
                state.distrust = None;
                state.repairing = true;
            }
            let read = self.read_on().await;
            self.state.lock().repairing = false;
            match read {
                Ok(()) => return,
                Err(error) => {
                    if self.is_idle() {
                        return;
                    }
                    tracing::debug!(feed = %self.key, %error, "repair failed; trying again");
                    self.distrust_all().await;
                    self.state.lock().distrust.get_or_insert(reason);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(REPAIR_BACKOFF_MAX);
                }
            }
        }
    }

    async fn read_on(self: &Arc<Self>) -> Result<(), BusError> {
        loop {
            let Some(position) = self.position() else { return Ok(()) };
            let slice = self.read(ReadFrom::AfterOffset(position.offset), REPAIR_PAGE_ENTRIES).await?;
            let follows = slice.head.epoch == position.epoch
                && slice.head.offset >= position.offset
                && slice.first_offset <= position.offset + 1;
            if !follows {
                // Each session knows best what it lacks: it reads for itself, and is told of its own gap.
                self.restart_at(slice.head).await;
                return Ok(());
            }
            for entry in &slice.entries {
                if self.suspicion(entry) == Some(None) {
                    self.advance(entry).await;
                }
            }
            let reached = self.position().is_some_and(|position| position.offset >= slice.head.offset);
            if reached || slice.entries.is_empty() {
                return Ok(());
            }
        }
    }

    async fn restart_at(&self, head: LogPosition) {
        {
            let mut state = self.state.lock();
            state.position = Some(head.clone());
            // Whatever the log says now, it has just changed.
            state.position_at = self.context.bus.time();
            state.message_seq = MessageSeq::Unasked;
            state.recent.clear();
        }
        self.each_session(|session| session.restart(&self.key, &head)).await;
    }

    async fn distrust_all(&self) {
        self.each_session(|session| session.with(|machine| machine.distrust(&self.key)).1).await;
    }

    async fn pass_over(&self, entry: &LogEntry) {
        self.each_session(|session| {
            session.with(|machine| machine.pass_over(&self.key, &entry.epoch, entry.offset)).1
        })
        .await;
    }

    /// Typing and presence are the first to go when memory is short.
    fn sheds_ephemerals(&self, event: &Event) -> bool {
        let sheds = matches!(event.kind, EventKind::Typing { .. } | EventKind::Presence { .. })
            && self.context.pressure.as_ref().is_some_and(|known| known.stage() >= Stage::NoEphemerals);
        if sheds {
            self.context.telemetry.record(Occurrence::EphemeralDropped);
            self.context.telemetry.record(Occurrence::LimitHit(Limit::MemoryEphemerals));
        }
        sheds
    }

    /// Forgets the newest events: who is behind reads the log.
    pub fn forget_recent(&self) {
        self.state.lock().recent.clear();
    }

    async fn broadcast(&self, event: &Arc<Event>) {
        if let EventKind::Membership { dialog, user, .. } = &event.kind {
            self.context.caretaker.membership_changed(user, dialog);
        }
        if let EventKind::Node(word) = &event.kind {
            return self.context.caretaker.node_said(&self.key, word);
        }
        if event.logged.is_none() && self.sheds_ephemerals(event) {
            return;
        }
        let settled = self.context.bus.settled();
        self.each_session(|session| {
            let delivery = session.deliver(event, settled);
            if delivery.spilled {
                self.context.telemetry.record(Occurrence::Spilled);
            }
            if delivery.dropped {
                self.context.telemetry.record(Occurrence::EphemeralDropped);
            }
            delivery.needs_care || event.kind == EventKind::Kick
        })
        .await;
    }

    /// Walks the followers as they are now; no lock is held over a session or an await. `visit` says whether the
    /// session needs care.
    async fn each_session(&self, mut visit: impl FnMut(&Arc<LiveSession>) -> bool) {
        let followers = self.subscribers.lock().snapshot();
        let mut served = 0;
        for run in followers.runs() {
            for session in run.iter().flatten() {
                if visit(session) {
                    self.context.caretaker.attend(session);
                }
            }
            served += run.len();
            if served >= BROADCAST_SLICE_SESSIONS {
                served = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}
