//! Which sessions each user has, over all nodes.
//!
//! A user's sessions are a hash in the slot of the user; beside it each node has a hash of the sessions that it holds,
//! so that they are found when the node is dead. That one is written before a session is entered and after it is gone:
//! it may name too many, never too few. Whoever takes a session out asks the user's hash, where one caller alone
//! succeeds.

use std::time::Duration;

use async_trait::async_trait;

use super::commands::RedisCommands;
use super::script::{Script, ScriptCall};
use crate::application::ports::bus::BusError;
use crate::application::ports::lifecycle::SessionTurn;
use crate::application::ports::roster::{
    Entered, REAP_SESSIONS_MAX, ROSTER_NODE_TTL, Reaped, RosterStep, SessionRoster, Step,
};
use crate::domain::ids::{DeviceId, SessionId, UserId};
use crate::domain::time::whole_millis;
use crate::session::reader::Transport;

/// How long it is remembered that a session has ended: an end that is told again is none.
const ENDED_FOR: Duration = Duration::from_secs(60);

/// What the roster must know.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// How long a session that nobody reads counts.
    pub resume_window: Duration,
}

/// The roster in Redis.
pub struct RedisRoster {
    config: Config,
    commands: RedisCommands,
    script: Script,
    heard: Script,
}

impl RedisRoster {
    /// The roster that all nodes share.
    #[must_use]
    pub fn new(config: Config, commands: RedisCommands) -> Self {
        Self {
            config,
            commands,
            script: Script::new(include_str!("roster.lua")),
            heard: Script::new(include_str!("nodes_heard.lua")),
        }
    }

    fn call(&self, user: &UserId, operation: &str) -> ScriptCall<'_> {
        let key = self.commands.keys().sessions(user);
        let resume = whole_millis(self.config.resume_window);
        self.script.call().key(key).arg(operation).arg(resume).arg(whole_millis(ENDED_FOR))
    }

    fn turn(&self, turn: SessionTurn, step: &RosterStep) -> ScriptCall<'_> {
        self.call(&step.user_id, "turn")
            .arg(turn.as_str())
            .arg(step.session_id.as_str())
            .arg(&self.config.node)
            .arg(step.generation)
            .arg(step.transport.map_or("", Transport::as_str))
            .arg(step.device_id.as_ref().map_or("", DeviceId::as_str))
            .arg(format!("{:x}", step.token))
    }

    async fn say_heard(&self, to_come: Duration) -> Result<(), BusError> {
        let call = self.heard.call().key(self.commands.keys().nodes());
        let call = call.arg("heard").arg(&self.config.node).arg(whole_millis(to_come));
        self.commands.script::<()>(&call).await
    }

    /// The sessions of a dead node, a part of them; what another has taken out already is not among what comes back.
    async fn reap_node(&self, node: &str) -> Result<Vec<Reaped>, BusError> {
        let held = self.commands.keys().sessions_of_node(node);
        let mut pick = redis::cmd("HRANDFIELD");
        pick.arg(&held).arg(REAP_SESSIONS_MAX).arg("WITHVALUES");
        let picked: Vec<(String, String)> = self.commands.query(&pick).await?;
        if picked.is_empty() {
            self.commands.query::<()>(redis::cmd("ZREM").arg(self.commands.keys().nodes()).arg(node)).await?;
            return Ok(Vec::new());
        }
        let token = format!("{:x}", fastrand::u64(..));
        let known: Vec<(SessionId, UserId)> = picked
            .iter()
            .filter_map(|(session, user)| Some((SessionId::parse(session).ok()?, UserId::parse(user).ok()?)))
            .collect();
        let calls: Vec<ScriptCall<'_>> = known
            .iter()
            .map(|(session, user)| self.call(user, "reap").arg(node).arg(&token).arg(session.as_str()))
            .collect();
        let answers: Vec<Vec<Row>> = self.commands.scripts(&calls).await?;
        let mut forget = redis::cmd("HDEL");
        forget.arg(&held);
        for (session, _) in &picked {
            forget.arg(session);
        }
        self.commands.query::<()>(&forget).await?;
        let rows = known
            .into_iter()
            .zip(answers)
            .flat_map(|((_, user), rows)| rows.into_iter().filter_map(move |row| reaped(&user, node, row)));
        Ok(rows.collect())
    }
}

/// Session, transport, device, others.
type Row = (String, String, String, usize);

fn reaped(user: &UserId, node: &str, (session, transport, device, others): Row) -> Option<Reaped> {
    Some(Reaped {
        user_id: user.clone(),
        session_id: SessionId::parse(&session).ok()?,
        device_id: DeviceId::parse(&device).ok(),
        transport: [Transport::WebSocket, Transport::Sse, Transport::Poll]
            .into_iter()
            .find(|known| known.as_str() == transport),
        node: node.to_owned(),
        others,
    })
}

#[async_trait]
impl SessionRoster for RedisRoster {
    async fn enter(
        &self,
        user: &UserId,
        session: &SessionId,
        generation: u32,
        limit: usize,
    ) -> Result<Entered, BusError> {
        let held = self.commands.keys().sessions_of_node(&self.config.node);
        self.commands
            .query::<()>(redis::cmd("HSET").arg(&held).arg((session.as_str(), user.as_str())))
            .await?;
        let call = self.call(user, "enter").arg(session.as_str()).arg(&self.config.node);
        let mut answer: Vec<String> = self.commands.script(&call.arg(generation).arg(limit)).await?;
        if answer.first().is_some_and(|first| first == "1") {
            return Ok(Entered::Yes);
        }
        // Only a hint where to look: that it stays is no harm.
        let _ = self.commands.query::<()>(redis::cmd("HDEL").arg(&held).arg(session.as_str())).await;
        Ok(Entered::Full { nodes: answer.split_off(1.min(answer.len())) })
    }

    async fn note(&self, steps: &[RosterStep]) -> Result<Vec<Option<usize>>, BusError> {
        let held = self.commands.keys().sessions_of_node(&self.config.node);
        let (mut here, mut gone) = (redis::cmd("HSET"), redis::cmd("HDEL"));
        here.arg(&held);
        gone.arg(&held);
        let (mut come, mut go) = (0, 0);
        for step in steps {
            if step.step == Step::Turn(SessionTurn::Attached) {
                here.arg((step.session_id.as_str(), step.user_id.as_str()));
                come += 1;
            }
        }
        // One that comes back after it was gone is here: only the last word on each counts.
        for (index, step) in steps.iter().enumerate() {
            let is_last = steps[index + 1..].iter().all(|later| later.session_id != step.session_id);
            if is_last && matches!(step.step, Step::Left | Step::Turn(SessionTurn::Ended)) {
                gone.arg(step.session_id.as_str());
                go += 1;
            }
        }
        if come > 0 {
            self.commands.query::<()>(&here).await?;
        }
        let turns: Vec<(usize, ScriptCall<'_>)> = steps
            .iter()
            .enumerate()
            .filter_map(|(index, step)| match step.step {
                Step::Turn(turn) => Some((index, self.turn(turn, step))),
                Step::Left => None,
            })
            .collect();
        let calls: Vec<ScriptCall<'_>> = turns.iter().map(|(_, call)| call.clone()).collect();
        let mut noted = vec![None; steps.len()];
        if !calls.is_empty() {
            let answers: Vec<i64> = self.commands.scripts(&calls).await?;
            for ((index, _), others) in turns.iter().zip(answers) {
                noted[*index] = usize::try_from(others).ok();
            }
        }
        if go > 0 {
            self.commands.query::<()>(&gone).await?;
        }
        Ok(noted)
    }

    async fn beat(&self) -> Result<(), BusError> {
        self.say_heard(Duration::ZERO).await
    }

    async fn farewell(&self, after: Duration) -> Result<(), BusError> {
        self.say_heard(after.saturating_sub(ROSTER_NODE_TTL)).await
    }

    async fn reap(&self) -> Result<Vec<Reaped>, BusError> {
        let call = self.heard.call().key(self.commands.keys().nodes());
        let call = call.arg("silent").arg(whole_millis(ROSTER_NODE_TTL));
        let silent: Vec<String> = self.commands.script(&call).await?;
        for node in silent.iter().filter(|node| **node != self.config.node) {
            let reaped = self.reap_node(node).await?;
            if !reaped.is_empty() {
                return Ok(reaped);
            }
        }
        Ok(Vec::new())
    }

    async fn reap_user(&self, user: &UserId, node: &str) -> Result<Vec<Reaped>, BusError> {
        let token = format!("{:x}", fastrand::u64(..));
        let rows: Vec<Row> = self.commands.script(&self.call(user, "reap").arg(node).arg(token)).await?;
        Ok(rows.into_iter().filter_map(|row| reaped(user, node, row)).collect())
    }
}
