//! Who may ask for how much: rates of a session and of its user, and what becomes of those who don't mind them.
//!
//! What is above a rate is refused and told when to come back; that harms nobody. Whoever goes on all the same collects
//! strikes, and after too many of them is sent away for a while.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::allowance::{BARRED_FOR, Meters};
use super::command::{Command, Targets};
use super::gateway::Gateway;
use super::limits::{Meter, Rate};
use super::ports::telemetry::labels::Limit;
use super::ports::telemetry::occurrence::Occurrence;
use super::sessions::live::LiveSession;
use super::usecase::attach::AttachInput;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::UserId;
use crate::session::reader::{Dismissal, Transport};

/// All sessions of a user on one node together may do so many times what one of them may.
pub const USER_SESSIONS_WORTH: u32 = 4;
/// How many connects a new session counts for, where going on with one counts for one.
const BEGIN_COST: u32 = 2;
/// A `subscribe` counts for one command more per so many dialogs.
const DIALOGS_PER_COMMAND: usize = 50;
/// How many commands a `subscribe` to all dialogs counts for.
const SUBSCRIBE_ALL_COST: u32 = 5;
/// How many commands a question counts for that costs the Store or the bus a list.
const LIST_COST: u32 = 2;

/// What an address wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connect {
    /// A new session.
    Begin,
    /// To go on with one.
    GoOn,
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

    /// Whether this address may connect now, whoever it is: asked before anything is known about credentials.
    ///
    /// # Errors
    /// `rate_limited`, with the time when it may again.
    pub fn admit_address(&self, address: IpAddr, connect: Connect) -> Result<(), Refusal> {
        let cost = match connect {
            Connect::Begin => BEGIN_COST,
            Connect::GoOn => 1,
        };
        let rate = self.config.connects_rate.times(BEGIN_COST);
        let passed = self.address_meters.find(address).take(cost, rate, self.ports.clock.tick());
        passed.map_err(|after| {
            self.ports.telemetry.record(Occurrence::LimitHit(Limit::ConnectsPerIp));
            too_often("too many connects from this address at once", after)
        })
    }

    /// What was let in as going on with a session has begun one: those who come next from there wait for it.
    pub fn note_address_begins(&self, address: IpAddr) {
        let rate = self.config.connects_rate.times(BEGIN_COST);
        let meter = self.address_meters.find(address);
        meter.owe(BEGIN_COST - 1, rate, self.ports.clock.tick());
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
