//! Who is being read: told to whoever must know which users can be reached, each turn once.
//!
//! What a session's reader does is noted here at once and written later, by one task: no client ever waits for it. While
//! the bus is down, so much waits for it as there is room for; what comes after that is dropped and counted. A reader that goes and comes back within
//! a moment (another transport, the next of a chain of polls, another node) has never been away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::gateway::Gateway;
use super::ports::bus::BusError;
use super::ports::lifecycle::{LifecycleEvent, SessionTurn};
use super::ports::roster::{ROSTER_BEAT_EVERY, Reaped, RosterStep, Step};
use super::ports::telemetry::occurrence::Occurrence;
use super::sessions::live::LiveSession;
use super::sessions::told::Told;
use crate::domain::time::{Tick, UnixMillis};
use crate::session::machine::Session;
use crate::session::reader::Transport;

/// How long nobody must have read a session before it counts as detached; between two polls it is the presence grace,
/// which is also the most for all others.
pub const DETACH_GRACE: Duration = Duration::from_secs(5);
/// Steps that wait to be noted in the roster; beyond it they are dropped. About 100 bytes each.
pub const STEPS_MAX: usize = 65_536;
/// Entries that wait to be written to the log; beyond it they are dropped. About 150 bytes each.
pub const EVENTS_MAX: usize = 65_536;
/// Steps, or entries, that are written at once.
const AT_ONCE_MAX: usize = 256;
/// First wait before what could not be written is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before what could not be written is tried again.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// After so many vain tries, about 16 s, it is logged.
const RETRIES_UNTOLD: u32 = 8;

/// Steps on their way to the roster, and what came of them on its way to the log.
#[derive(Debug)]
pub struct Lifecycle {
    steps: mpsc::Sender<RosterStep>,
    events: mpsc::Sender<LifecycleEvent>,
    taken: Mutex<Option<(mpsc::Receiver<RosterStep>, mpsc::Receiver<LifecycleEvent>)>>,
    farewell_said: AtomicBool,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (steps, steps_taken) = mpsc::channel(STEPS_MAX);
        let (events, events_taken) = mpsc::channel(EVENTS_MAX);
        let taken = Mutex::new(Some((steps_taken, events_taken)));
        Self { steps, events, taken, farewell_said: AtomicBool::new(false) }
    }
}

impl Gateway {
    /// Somebody reads the session now.
    pub(super) fn note_attached(&self, session: &Arc<LiveSession>, transport: Transport) {
        let mut told = session.told.lock();
        if !matches!(*told, Told::Attached | Told::Over) {
            *told = Told::Attached;
            let at = self.ports.clock.unix();
            self.note(session, Step::Turn(SessionTurn::Attached), Some(transport), at);
        }
    }

    /// Notes it if the session has not been read for long enough.
    pub(super) fn note_if_detached(&self, session: &Arc<LiveSession>) {
        let mut told = session.told.lock();
        let Some((since, transport)) = session.peek(Session::unread_since) else { return };
        let now = self.ports.clock.tick();
        if *told == Told::Attached && now >= since.plus(self.detach_grace(transport)) {
            *told = Told::Detached;
            let at = self.ports.clock.unix().minus(now.since(since));
            self.note(session, Step::Turn(SessionTurn::Detached), transport, at);
        }
    }

    /// When [`Self::note_if_detached`] has something to do.
    pub(super) fn detach_due(&self, session: &Arc<LiveSession>) -> Option<Tick> {
        if *session.told.lock() != Told::Attached {
            return None;
        }
        let (since, transport) = session.peek(Session::unread_since)?;
        Some(since.plus(self.detach_grace(transport)))
    }

    fn detach_grace(&self, transport: Option<Transport>) -> Duration {
        let most = self.config.session.presence_grace;
        if transport == Some(Transport::Poll) { most } else { most.min(DETACH_GRACE) }
    }

    /// The session is over here; or everywhere, unless it goes on at another node.
    pub(super) fn note_over(&self, session: &Arc<LiveSession>) {
        let before = std::mem::replace(&mut *session.told.lock(), Told::Over);
        let step = match before {
            Told::Over => return,
            _ if session.peek(Session::is_superseded) => Step::Left,
            Told::Nothing => return,
            Told::Entered | Told::Attached | Told::Detached => Step::Turn(SessionTurn::Ended),
        };
        let transport = session.peek(Session::last_transport);
        self.note(session, step, transport, self.ports.clock.unix());
    }

    fn note(&self, session: &Arc<LiveSession>, step: Step, transport: Option<Transport>, at: UnixMillis) {
        let (generation, device_id) = session.peek(|machine| (machine.epoch(), machine.device_id().cloned()));
        self.note_step(RosterStep {
            step,
            user_id: session.user_id().clone(),
            session_id: session.id().clone(),
            generation,
            device_id,
            transport,
            token: fastrand::u64(1..),
            at,
        });
    }

    pub(super) fn note_step(&self, step: RosterStep) {
        self.put(&self.lifecycle.steps, step);
    }

    fn put<T>(&self, queue: &mpsc::Sender<T>, entry: T) {
        // Nobody writes any more when the node ends: the roster says what became of its sessions.
        if let Err(TrySendError::Full(_)) = queue.try_send(entry) {
            self.ports.telemetry.record(Occurrence::LifecycleDropped);
        }
    }

    /// Writes what was noted, until it is cancelled.
    pub(super) async fn write_lifecycle(&self) {
        let Some((steps, events)) = self.lifecycle.taken.lock().take() else {
            return std::future::pending().await;
        };
        // Side by side: a log that takes nothing must not keep the roster from knowing who has gone.
        tokio::join!(self.note_steps(steps), self.append_events(events));
    }

    async fn note_steps(&self, mut taken: mpsc::Receiver<RosterStep>) {
        let mut steps = Vec::new();
        while taken.recv_many(&mut steps, AT_ONCE_MAX).await > 0 {
            let noted = patiently(|_| self.ports.roster.note(&steps)).await;
            self.tell_noted(&steps, noted);
            steps.clear();
        }
    }

    async fn append_events(&self, mut taken: mpsc::Receiver<LifecycleEvent>) {
        let mut events = Vec::new();
        while taken.recv_many(&mut events, AT_ONCE_MAX).await > 0 {
            patiently(|again| self.ports.lifecycle.append(&events, again)).await;
            events.clear();
        }
    }

    fn tell_noted(&self, steps: &[RosterStep], noted: Vec<Option<usize>>) {
        for (step, others) in steps.iter().zip(noted) {
            let (Step::Turn(turn), Some(others)) = (step.step, others) else { continue };
            let event = LifecycleEvent {
                turn,
                user_id: step.user_id.clone(),
                session_id: step.session_id.clone(),
                device_id: step.device_id.clone(),
                transport: step.transport,
                node: self.config.node.clone(),
                others,
                at: step.at,
            };
            self.put(&self.lifecycle.events, event);
        }
    }

    /// Says that this node keeps its sessions, and ends those of nodes that don't say so any more, until it is
    /// cancelled.
    pub(super) async fn keep_roster(&self) {
        let mut step = tokio::time::interval(ROSTER_BEAT_EVERY);
        step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            step.tick().await;
            if let Err(error) = self.keep_roster_once().await {
                tracing::debug!(%error, "the roster of sessions is out of reach");
            }
        }
    }

    async fn keep_roster_once(&self) -> Result<(), BusError> {
        if !self.lifecycle.farewell_said.load(Ordering::SeqCst) {
            self.ports.roster.beat().await?;
        }
        loop {
            let reaped = self.ports.roster.reap().await?;
            if reaped.is_empty() {
                return Ok(());
            }
            self.tell_reaped(reaped);
        }
    }

    pub(super) fn tell_reaped(&self, reaped: Vec<Reaped>) {
        let at = self.ports.clock.unix();
        for reaped in reaped {
            let event = LifecycleEvent {
                turn: SessionTurn::Ended,
                user_id: reaped.user_id,
                session_id: reaped.session_id,
                device_id: reaped.device_id,
                transport: reaped.transport,
                node: reaped.node,
                others: reaped.others,
                at,
            };
            self.put(&self.lifecycle.events, event);
        }
    }

    /// The node is going: sessions that have not come back elsewhere by `after` have ended.
    pub(super) async fn leave_roster(&self, after: Duration) {
        self.lifecycle.farewell_said.store(true, Ordering::SeqCst);
        if let Err(error) = self.ports.roster.farewell(after).await {
            tracing::debug!(%error, "the roster was not told that this node is going");
        }
    }
}

/// Tries until it succeeds; says whether it is not the first time. What comes meanwhile waits in a queue that is bounded.
async fn patiently<T, Trying>(mut attempt: impl FnMut(bool) -> Trying) -> T
where
    Trying: Future<Output = Result<T, BusError>>,
{
    let (mut wait, mut retries) = (RETRY_FIRST, 0u32);
    loop {
        match attempt(retries > 0).await {
            Ok(done) => return done,
            Err(error) if retries == RETRIES_UNTOLD => {
                tracing::warn!(%error, "lifecycle entries wait: the bus takes none");
            }
            Err(_) => {}
        }
        retries = retries.saturating_add(1);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}
