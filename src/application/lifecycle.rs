//! Who is being read: told to whoever must know which users can be reached, each turn once.
//!
//! What a session's reader does is noted here at once and written later, by one task: no client ever waits for it, and a
//! bus that is down for longer than the retries costs entries, not connections. A reader that goes and comes back within
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
use super::sessions::live::LiveSession;
use super::sessions::told::Told;
use crate::domain::time::{Tick, UnixMillis};
use crate::session::machine::Session;
use crate::session::reader::Transport;

/// How long nobody must have read a session before it counts as detached; between two polls it is the presence grace,
/// which is also the most for all others.
pub const DETACH_GRACE: Duration = Duration::from_secs(5);
/// Steps that wait to be written; beyond it they are dropped.
pub const STEPS_MAX: usize = 65_536;
/// Steps that are written at once.
const STEPS_AT_ONCE_MAX: usize = 256;
/// First wait before what could not be written is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before what could not be written is tried again.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often what could not be written is tried again: about 16 s in all.
const RETRIES_MAX: u32 = 8;

/// Steps on their way to be written.
#[derive(Debug)]
pub struct Lifecycle {
    steps: mpsc::Sender<RosterStep>,
    taken: Mutex<Option<mpsc::Receiver<RosterStep>>>,
    farewell_said: AtomicBool,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (steps, taken) = mpsc::channel(STEPS_MAX);
        Self { steps, taken: Mutex::new(Some(taken)), farewell_said: AtomicBool::new(false) }
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
        // Nobody writes any more when the node ends: the roster says what became of its sessions.
        if let Err(TrySendError::Full(_)) = self.lifecycle.steps.try_send(step) {
            tracing::debug!("too many lifecycle entries wait to be written: one is dropped");
        }
    }

    /// Writes what was noted, until it is cancelled.
    pub(super) async fn write_lifecycle(&self) {
        let Some(mut taken) = self.lifecycle.taken.lock().take() else {
            return std::future::pending().await;
        };
        let mut steps = Vec::new();
        while taken.recv_many(&mut steps, STEPS_AT_ONCE_MAX).await > 0 {
            self.write_steps(&steps).await;
            steps.clear();
        }
    }

    async fn write_steps(&self, steps: &[RosterStep]) {
        let Some(noted) = patiently(|_| self.ports.roster.note(steps)).await else { return };
        let changes = steps.iter().zip(noted).filter_map(|(step, others)| {
            let (Step::Turn(turn), Some(others)) = (step.step, others) else { return None };
            Some(LifecycleEvent {
                turn,
                user_id: step.user_id.clone(),
                session_id: step.session_id.clone(),
                device_id: step.device_id.clone(),
                transport: step.transport,
                node: self.config.node.clone(),
                others,
                at: step.at,
            })
        });
        self.append(&changes.collect::<Vec<_>>()).await;
    }

    async fn append(&self, events: &[LifecycleEvent]) {
        if !events.is_empty() {
            patiently(|again| self.ports.lifecycle.append(events, again)).await;
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
            self.tell_reaped(reaped).await;
        }
    }

    pub(super) async fn tell_reaped(&self, reaped: Vec<Reaped>) {
        let at = self.ports.clock.unix();
        let events = reaped.into_iter().map(|reaped| LifecycleEvent {
            turn: SessionTurn::Ended,
            user_id: reaped.user_id,
            session_id: reaped.session_id,
            device_id: reaped.device_id,
            transport: reaped.transport,
            node: reaped.node,
            others: reaped.others,
            at,
        });
        self.append(&events.collect::<Vec<_>>()).await;
    }

    /// The node is going: sessions that have not come back elsewhere by `after` have ended.
    pub(super) async fn leave_roster(&self, after: Duration) {
        self.lifecycle.farewell_said.store(true, Ordering::SeqCst);
        if let Err(error) = self.ports.roster.farewell(after).await {
            tracing::debug!(%error, "the roster was not told that this node is going");
        }
    }
}

/// Tries again for a while; says whether it is not the first time. `None`: in vain.
async fn patiently<T, Trying>(mut attempt: impl FnMut(bool) -> Trying) -> Option<T>
where
    Trying: Future<Output = Result<T, BusError>>,
{
    let mut wait = RETRY_FIRST;
    for retry in 0..=RETRIES_MAX {
        match attempt(retry > 0).await {
            Ok(done) => return Some(done),
            Err(error) if retry == RETRIES_MAX => {
                tracing::warn!(%error, "lifecycle entries are lost: the bus takes none");
            }
            Err(_) => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    }
    None
}
