//! Which sessions each user has, for this one node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hashbrown::HashMap;

use super::sharded::Sharded;
use crate::application::ports::bus::BusError;
use crate::application::ports::clock::Clock;
use crate::application::ports::lifecycle::SessionTurn;
use crate::application::ports::roster::{Entered, Reaped, RosterStep, SessionRoster, Step};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::Tick;

/// What the roster must know.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// How long a session that nobody reads counts.
    pub resume_window: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Never read so far; counts until then.
    New(Tick),
    Attached,
    /// Counts until then.
    Detached(Tick),
}

#[derive(Debug)]
struct Entry {
    session: SessionId,
    generation: u32,
    state: State,
    /// Of the last step that has changed something.
    token: u64,
}

/// Most users have one session: a table for each would be larger than what is in it.
type Entries = Vec<Entry>;

fn find<'a>(entries: &'a Entries, session: &SessionId) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.session == *session)
}

/// Puts an entry in the place of the one that the session has.
fn put(entries: &mut Entries, entry: Entry) {
    match entries.iter_mut().find(|known| known.session == entry.session) {
        Some(known) => *known = entry,
        None => {
            entries.reserve_exact(1);
            entries.push(entry);
        }
    }
}

/// The roster in the process. Entries go when their sessions do: there are no more of them than of those.
pub struct MemoryRoster {
    config: Config,
    clock: Arc<dyn Clock>,
    users: Sharded<HashMap<UserId, Entries>>,
}

impl MemoryRoster {
    /// Nobody yet.
    #[must_use]
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, users: Sharded::default() }
    }

    fn turn(&self, turn: SessionTurn, step: &RosterStep) -> Option<usize> {
        let now = self.clock.tick();
        let mut users = self.users.lock(&step.user_id);
        let entries = users.entry(step.user_id.clone()).or_default();
        purge(entries, now);
        let known = find(entries, &step.session_id);
        let again = known.is_some_and(|known| known.token == step.token);
        let old = known.is_some_and(|known| step.generation < known.generation);
        let before = known.map(|known| known.state);
        let changed = match (turn, before) {
            _ if again => true,
            _ if old => false,
            (SessionTurn::Attached, before) => before != Some(State::Attached),
            (SessionTurn::Detached, before) => before == Some(State::Attached),
            (SessionTurn::Ended, before) => matches!(before, Some(State::Attached | State::Detached(_))),
        };
        if !again && !old {
            let state = match turn {
                SessionTurn::Attached => Some(State::Attached),
                SessionTurn::Detached if changed => {
                    Some(State::Detached(now.plus(self.config.resume_window)))
                }
                SessionTurn::Detached => before,
                SessionTurn::Ended => None,
            };
            match state {
                Some(state) => {
                    let token = if changed { step.token } else { 0 };
                    let session = step.session_id.clone();
                    put(entries, Entry { session, generation: step.generation, state, token });
                }
                None => entries.retain(|entry| entry.session != step.session_id),
            }
        }
        let others =
            entries.iter().filter(|entry| entry.session != step.session_id && entry.state == State::Attached);
        let others = others.count();
        if entries.is_empty() {
            users.remove(&step.user_id);
        }
        changed.then_some(others)
    }
}

fn purge(entries: &mut Entries, now: Tick) {
    entries.retain(|entry| match entry.state {
        State::Attached => true,
        State::New(until) | State::Detached(until) => now < until,
    });
}

#[async_trait]
impl SessionRoster for MemoryRoster {
    async fn enter(
        &self,
        user: &UserId,
        session: &SessionId,
        generation: u32,
        limit: usize,
    ) -> Result<Entered, BusError> {
        let now = self.clock.tick();
        let mut users = self.users.lock(user);
        let entries = users.entry(user.clone()).or_default();
        purge(entries, now);
        if find(entries, session).is_some() {
            return Ok(Entered::Yes);
        }
        if entries.len() >= limit {
            return Ok(Entered::Full { nodes: vec![self.config.node.clone()] });
        }
        let state = State::New(now.plus(self.config.resume_window));
        put(entries, Entry { session: session.clone(), generation, state, token: 0 });
        Ok(Entered::Yes)
    }

    async fn note(&self, steps: &[RosterStep]) -> Result<Vec<Option<usize>>, BusError> {
        let noted = steps.iter().map(|step| match step.step {
            Step::Turn(turn) => self.turn(turn, step),
            Step::Left => None,
        });
        Ok(noted.collect())
    }

    async fn beat(&self) -> Result<(), BusError> {
        Ok(())
    }

    async fn farewell(&self, _: Duration) -> Result<(), BusError> {
        Ok(())
    }

    async fn reap(&self) -> Result<Vec<Reaped>, BusError> {
        Ok(Vec::new())
    }

    async fn reap_user(&self, _: &UserId, _: &str) -> Result<Vec<Reaped>, BusError> {
        Ok(Vec::new())
    }
}
