//! Who may ask for how much: rates of a session and of its user, and what becomes of those who don't mind them.
//!
//! What is above a rate is refused and told when to come back; that harms nobody. Whoever goes on all the same collects
//! strikes, and after too many of them is sent away for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quick_cache::sync::Cache;

use super::command::{Command, Targets};
use super::gateway::Gateway;
use super::limits::{Meter, Rate};
use super::ports::telemetry::labels::Limit;
use super::ports::telemetry::occurrence::Occurrence;
use super::sessions::live::LiveSession;
use super::usecase::attach::AttachInput;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::UserId;
use crate::domain::time::Tick;
use crate::session::reader::{Dismissal, Transport};

/// All sessions of a user on one node together may do so many times what one of them may.
pub const USER_SESSIONS_WORTH: u32 = 4;
/// Most users of whom a node knows what they have used up; whoever is forgotten begins anew.
pub const METERED_USERS_MAX: usize = 100_000;
/// Strikes that are forgiven per second.
pub const STRIKES_FORGIVEN_PER_SECOND: u32 = 10;
/// A session is sent away when it has collected so many seconds' worth of strikes: 300 at once, for one.
pub const STRIKES_MAX_SECONDS: u32 = 30;
/// How long a session that was sent away for its strikes is not let in.
pub const BARRED_FOR: Duration = Duration::from_secs(5);
/// How many connects a new session counts for, where going on with one counts for one.
const BEGIN_COST: u32 = 2;
/// A `subscribe` counts for one command more per so many dialogs.
const DIALOGS_PER_COMMAND: usize = 50;
/// How many commands a `subscribe` to all dialogs counts for.
const SUBSCRIBE_ALL_COST: u32 = 5;
/// How many commands a question counts for that costs the Store or the bus a list.
const LIST_COST: u32 = 2;

/// What somebody has used up of each rate.
#[derive(Debug, Default)]
pub struct Meters {
    commands: Meter,
    sends: Meter,
    typing: Meter,
    connects: Meter,
}

/// What a session has used up.
#[derive(Debug, Default)]
pub struct Allowance {
    own: Meters,
    /// Its user's, once it has asked for anything.
    user: OnceLock<Arc<Meters>>,
    strikes: Meter,
    barred_until: AtomicU64,
}

impl Allowance {
    /// Notes that a refusal was not minded. True if it was one too many: then the session is barred for a while.
    fn strike(&self, now: Tick) -> bool {
        let forgiven = Rate { per_second: STRIKES_FORGIVEN_PER_SECOND };
        let too_many = self.strikes.take_within(1, forgiven, STRIKES_MAX_SECONDS, now).is_err();
        if too_many {
            self.barred_until.store(now.plus(BARRED_FOR).0, Ordering::Relaxed);
        }
        too_many
    }

    /// How long the session is not let in any more.
    fn barred(&self, now: Tick) -> Option<Duration> {
        let wait = Tick(self.barred_until.load(Ordering::Relaxed)).since(now);
        (!wait.is_zero()).then_some(wait)
    }
}

/// What users have used up on this node, all their sessions together.
pub struct UserMeters {
    of: Cache<UserId, Arc<Meters>>,
}

impl Default for UserMeters {
    fn default() -> Self {
        Self { of: Cache::new(METERED_USERS_MAX) }
    }
}

impl UserMeters {
    fn find(&self, user: &UserId) -> Arc<Meters> {
        if let Some(known) = self.of.get(user) {
            return known;
        }
        let fresh = Arc::new(Meters::default());
        self.of.insert(user.clone(), fresh.clone());
        fresh
    }
}

/// One rate, as a session and its user share it.
struct Check {
    rate: Rate,
    cost: u32,
    meter: fn(&Meters) -> &Meter,
    of_session: Limit,
    of_user: Limit,
}

impl Gateway {
    /// Whether the session may ask for this now.
    pub(super) fn admit(&self, session: &Arc<LiveSession>, command: &Command) -> Result<(), Refusal> {
        self.admit_all(session, &self.checks_of(command)).inspect_err(|_| {
            let refused = Occurrence::Command(command.kind(), Some(ErrorCode::RateLimited));
            self.ports.telemetry.record(refused);
        })
    }

    /// What can't be understood counts like a command.
    pub(super) fn admit_malformed(&self, session: &Arc<LiveSession>) -> Result<(), Refusal> {
        self.admit_all(session, &[self.commands_check(1)])
    }

    fn checks_of(&self, command: &Command) -> Vec<Check> {
        let mut checks = Vec::with_capacity(2);
        checks.push(self.commands_check(cost(command)));
        match command {
            Command::Send(_) => checks.push(Check {
                rate: self.config.sends_rate,
                cost: 1,
                meter: |meters| &meters.sends,
                of_session: Limit::SendsPerSession,
                of_user: Limit::SendsPerUser,
            }),
            Command::Typing { .. } => checks.push(Check {
                rate: Rate { per_second: self.config.commands_rate.per_second.div_ceil(2) },
                cost: 1,
                meter: |meters| &meters.typing,
                of_session: Limit::Typing,
                of_user: Limit::Typing,
            }),
            _ => {}
        }
        checks
    }

    fn commands_check(&self, cost: u32) -> Check {
        Check {
            rate: self.config.commands_rate,
            cost,
            meter: |meters| &meters.commands,
            of_session: Limit::CommandsPerSession,
            of_user: Limit::CommandsPerUser,
        }
    }

    fn admit_all(&self, session: &Arc<LiveSession>, checks: &[Check]) -> Result<(), Refusal> {
        let now = self.ports.clock.tick();
        let allowance = &session.allowance;
        let user = allowance.user.get_or_init(|| self.user_meters.find(session.user_id()));
        let passed = checks.iter().try_for_each(|check| {
            let own = (check.meter)(&allowance.own).take(check.cost, check.rate, now);
            own.map_err(|after| (check.of_session, after))?;
            let rate = check.rate.times(USER_SESSIONS_WORTH);
            let all = (check.meter)(user).take(check.cost, rate, now);
            all.map_err(|after| (check.of_user, after))
        });
        let Err((limit, after)) = passed else { return Ok(()) };
        self.ports.telemetry.record(Occurrence::LimitHit(limit));
        if allowance.strike(now) {
            self.ports.telemetry.record(Occurrence::LimitHit(Limit::Strikes));
            session.with(|machine| machine.dismiss(Dismissal::RateLimited { reconnect_after: BARRED_FOR }));
        }
        Err(too_often("too many commands at once", after))
    }

    /// Whether a session may be read, or told to do something, at all: not while it is barred.
    ///
    /// # Errors
    /// `rate_limited`, until it is let in again.
    pub fn require_good_conduct(&self, session: &LiveSession) -> Result<(), Refusal> {
        match session.allowance.barred(self.ports.clock.tick()) {
            Some(wait) => Err(too_often("too many commands were refused", wait)),
            None => Ok(()),
        }
    }

    /// Whether a user may connect now. What goes on with a session counts for less than what begins one; a poll that does
    /// is no connect.
    pub(super) fn admit_connect(&self, user: &UserId, input: &AttachInput) -> Result<(), Refusal> {
        let cost = match (&input.session, input.transport) {
            (None, _) => BEGIN_COST,
            (Some(_), Transport::Poll) => return Ok(()),
            (Some(_), Transport::WebSocket | Transport::Sse) => 1,
        };
        let meters = self.user_meters.find(user);
        let rate = self.config.connects_rate.times(BEGIN_COST);
        let passed = meters.connects.take(cost, rate, self.ports.clock.tick());
        passed.map_err(|after| {
            self.ports.telemetry.record(Occurrence::LimitHit(Limit::ConnectsPerUser));
            too_often("too many connects at once", after)
        })
    }
}

fn too_often(message: &'static str, after: Duration) -> Refusal {
    Refusal::new(ErrorCode::RateLimited, message).retry_after(after)
}

/// How many commands a command counts for: by what it costs the Store and the bus.
fn cost(command: &Command) -> u32 {
    match command {
        Command::Subscribe { targets: Targets::All, .. } => SUBSCRIBE_ALL_COST,
        Command::Subscribe { targets: Targets::Dialogs(dialogs, _), .. } => {
            1 + u32::try_from(dialogs.len() / DIALOGS_PER_COMMAND).unwrap_or(u32::MAX)
        }
        Command::History { .. } | Command::Presence { .. } => LIST_COST,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_barred_for_a_while_after_too_many_strikes() {
        let allowance = Allowance::default();
        let most = STRIKES_FORGIVEN_PER_SECOND * STRIKES_MAX_SECONDS;
        assert!((0..most).all(|_| !allowance.strike(Tick(0))));
        assert_eq!(allowance.barred(Tick(0)), None);
        assert!(allowance.strike(Tick(0)));
        assert_eq!(allowance.barred(Tick(0)), Some(BARRED_FOR));
        assert_eq!(allowance.barred(Tick(0).plus(BARRED_FOR)), None);
    }

    #[test]
    fn strikes_now_and_then_are_forgiven() {
        let allowance = Allowance::default();
        let now_and_then = (0..10_000).map(|n| Tick(n * 1000 / u64::from(STRIKES_FORGIVEN_PER_SECOND)));
        assert!(now_and_then.into_iter().all(|now| !allowance.strike(now)));
    }

    #[test]
    fn a_user_is_metered_once() {
        let meters = UserMeters::default();
        let user = UserId::parse("ann").unwrap();
        assert!(Arc::ptr_eq(&meters.find(&user), &meters.find(&user)));
    }
}
