//! Beginning: a new session, one more of its user's.

use std::sync::Arc;
use std::time::Duration;

use super::attach::{AttachInput, refused, request};
use super::follow::Start;
use super::presence::bus_refusal;
use super::reading::Reading;
use crate::application::command::Subscribed;
use crate::application::farewell::going_away;
use crate::application::gateway::Gateway;
use crate::application::ports::auth::Identity;
use crate::application::ports::roster::Entered;
use crate::application::ports::telemetry::labels::Limit;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::pressure::Stage;
use crate::application::sessions::lanes::Lane;
use crate::application::sessions::live::LiveSession;
use crate::application::sessions::told::Told;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::{FeedKey, SessionId, UserId};
use crate::session::machine::Session;
use crate::session::reader::{Attached, Dismissal, Resume};
use crate::session::snapshot::SubscribeOptions;

/// How often a user's sessions are counted again before one too many is refused.
const ROOM_LOOKS_MAX: usize = 4;
/// The wait between two counts.
const ROOM_LOOK_EVERY: Duration = Duration::from_millis(50);

impl Gateway {
    pub(super) async fn begin(
        self: &Arc<Self>,
        identity: &Identity,
        input: &AttachInput,
        resume: Resume,
    ) -> Result<Reading, Refusal> {
        if self.is_leaving() {
            return Err(going_away());
        }
        self.require_room(Stage::NoSessions)?;
        let (id, epoch) = (new_session_id()?, random_epoch()?);
        self.enter_roster(&identity.user_id, &id, epoch).await?;
        let machine = Session::new(
            self.config.session.clone(),
            id,
            identity.user_id.clone(),
            input.device_id.clone(),
            epoch,
            self.ports.clock.tick(),
            self.ports.bus.time(),
        );
        let session = LiveSession::new(machine);
        *session.told.lock() = Told::Entered;
        self.sessions.insert(&session);
        // Whatever goes wrong from here on: nobody reads it, so it goes by itself.
        self.schedule(&session);
        match self.prepare(&session, identity, input).await {
            Ok((attached, subscribed)) => {
                Ok(self.reading(session, input.transport, attached, resume, subscribed))
            }
            Err(refusal) => {
                self.end_session(&session, Dismissal::Expired).await;
                Err(refusal)
            }
        }
    }

    /// Makes a session one of its user's, if there may be another.
    pub(super) async fn enter_roster(
        &self,
        user: &UserId,
        session: &SessionId,
        epoch: u32,
    ) -> Result<(), Refusal> {
        let limit = self.config.sessions_per_user;
        let enter = || self.ports.roster.enter(user, session, epoch, limit);
        let mut entered = enter().await.map_err(bus_refusal)?;
        if let Entered::Full { nodes } = &entered {
            // Those of a node that has just died need not wait to be taken out.
            for node in nodes.iter().filter(|node| **node != self.config.node) {
                if self.ports.nodes.address(node).await.map_err(bus_refusal)?.is_none() {
                    let reaped = self.ports.roster.reap_user(user, node).await.map_err(bus_refusal)?;
                    self.tell_reaped(reaped);
                }
            }
            entered = enter().await.map_err(bus_refusal)?;
        }
        // One that has just ended makes room, as soon as that is written down.
        for _ in 0..ROOM_LOOKS_MAX {
            if entered == Entered::Yes {
                break;
            }
            tokio::time::sleep(ROOM_LOOK_EVERY).await;
            entered = enter().await.map_err(bus_refusal)?;
        }
        if entered == Entered::Yes {
            return Ok(());
        }
        self.ports.telemetry.record(Occurrence::LimitHit(Limit::SessionsPerUser));
        Err(Refusal::new(ErrorCode::LimitExceeded, "the user has as many sessions as allowed"))
    }

    async fn prepare(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        identity: &Identity,
        input: &AttachInput,
    ) -> Result<(Attached, Option<Subscribed>), Refusal> {
        self.follow_own_feed(session).await?;
        let subscribed = match input.dialogs.clone() {
            Some(targets) => {
                let mut turn = session.lanes.enter(Lane::Session);
                turn.wait().await;
                let options = SubscribeOptions { presence: false, typing: true };
                Some(self.subscribe(session, targets, options, None).await?)
            }
            None => {
                self.save_record(session).await;
                None
            }
        };
        let request = request(input, None, identity, false);
        let (attached, _) = session.attach(&request, self.ports.bus.time()).map_err(refused)?;
        Ok((attached, subscribed))
    }

    pub(super) async fn follow_own_feed(self: &Arc<Self>, session: &Arc<LiveSession>) -> Result<(), Refusal> {
        let own = FeedKey::User(session.user_id().clone());
        let options = SubscribeOptions { presence: false, typing: false };
        let start = Start { since: None, asked: self.about_to_ask(session), stood: None };
        match self.follow(session, &own, options, start).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::new(ErrorCode::Unavailable, "the event bus does not answer")),
        }
    }
}

/// 128 random bits: a session's name is also what keeps others from guessing it. Written with 32 digits, since it stands in
/// every event of a stream.
fn new_session_id() -> Result<SessionId, Refusal> {
    const BASE: u128 = 32;
    /// As many as 128 bits take.
    const DIGITS: usize = 26;
    let mut bits = [0u8; 16];
    fill_random(&mut bits)?;
    let mut rest = u128::from_le_bytes(bits);
    let mut text = String::with_capacity(1 + DIGITS);
    text.push('s');
    for _ in 0..DIGITS {
        text.extend(char::from_digit((rest % BASE) as u32, BASE as u32));
        rest /= BASE;
    }
    SessionId::parse(&text).map_err(|_| Refusal::new(ErrorCode::Internal, "no session id"))
}

/// A session's first generation: random, so that another session's cursor is recognised; with room to rise.
fn random_epoch() -> Result<u32, Refusal> {
    let mut bits = [0u8; 4];
    fill_random(&mut bits)?;
    Ok((u32::from_le_bytes(bits) >> 1).max(1))
}

fn fill_random(bits: &mut [u8]) -> Result<(), Refusal> {
    getrandom::fill(bits).map_err(|_| Refusal::new(ErrorCode::Internal, "no randomness"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn sessions_have_names_of_27_characters_that_nobody_can_guess() {
        let names: Vec<_> = (0..200).map(|_| new_session_id().unwrap().to_string()).collect();
        assert!(names.iter().all(|name| name.len() == 27 && name.starts_with('s')), "{names:?}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        // Each digit but the last, which has three bits only, takes on most of its 32 values.
        for place in 1..26 {
            let seen: BTreeSet<_> = names.iter().map(|name| name.as_bytes()[place]).collect();
            assert!(seen.len() > 20, "place {place}: {seen:?}");
        }
    }
}
