//! Sessions and nodes: where a session is, how it is taken over, and what is done when another node takes it.

use std::sync::Arc;
use std::time::Duration;

use super::attach::{ATTACH_ATTEMPTS_MAX, AttachInput, Found, changes_hands, session_gone};
use super::presence::bus_refusal;
use crate::application::gateway::Gateway;
use crate::application::ports::auth::Identity;
use crate::application::ports::bus::BusError;
use crate::application::ports::lifecycle::SessionTurn;
use crate::application::ports::roster::{RosterStep, Step};
use crate::application::sessions::live::LiveSession;
use crate::domain::error::Refusal;
use crate::domain::event::NodeWord;
use crate::domain::ids::{FeedKey, SessionId, UserId};
use crate::session::machine::Session;
use crate::session::reader::Transport;

/// After an interruption every session of a node asks whether it is still the node's: within this time.
const VERIFY_SPREAD: Duration = Duration::from_secs(2);
/// How often it asks while nobody can tell; after that, its next record will.
const VERIFY_ATTEMPTS_MAX: usize = 10;

/// Where a session is, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// On this node; or nowhere at all; or it is not this user's: this node answers.
    Here,
    /// On another node that was heard of a moment ago.
    Elsewhere {
        /// Its name.
        node: String,
        /// Where it is reached: `scheme://host:port`.
        address: String,
    },
    /// On another node that has not been heard of for a while: it can be rebuilt here.
    Adrift,
}

impl Gateway {
    /// Whether a session is on this node, by what a client calls it; whose it is, is another question.
    #[must_use]
    pub fn has_session(&self, asked: &str) -> bool {
        let found = SessionId::parse(asked).ok().and_then(|id| self.sessions.find(&id));
        found.is_some_and(|session| session.peek(Session::ended).is_none())
    }

    /// Where a session is, by what a client calls it.
    ///
    /// # Errors
    /// `unavailable` when that can't be found out.
    pub async fn whereabouts(&self, identity: &Identity, asked: &str) -> Result<Whereabouts, Refusal> {
        let Ok(id) = SessionId::parse(asked) else { return Ok(Whereabouts::Here) };
        if let Some(session) = self.sessions.find(&id)
            && session.peek(Session::ended).is_none()
        {
            return Ok(Whereabouts::Here);
        }
        let owner = self.ports.nodes.owner(&id).await.map_err(bus_refusal)?;
        let other = owner.filter(|owner| owner.user_id == identity.user_id && owner.node != self.config.node);
        Ok(match other {
            None => Whereabouts::Here,
            Some(owner) => match owner.address {
                Some(address) => Whereabouts::Elsewhere { node: owner.node, address },
                None => Whereabouts::Adrift,
            },
        })
    }

    /// The session of a user whose node died, rebuilt here without a reader: its client has something to say before it
    /// reads again.
    ///
    /// # Errors
    /// `session_gone` when there is nothing to rebuild it from; `unavailable` when that can't be done right now.
    pub async fn rescue(
        self: &Arc<Self>,
        identity: &Identity,
        asked: &str,
        held_by: Option<String>,
    ) -> Result<Arc<LiveSession>, Refusal> {
        let Ok(id) = SessionId::parse(asked) else { return Err(session_gone()) };
        let input = AttachInput {
            session: Some(asked.to_owned()),
            cursor: None,
            attach: None,
            transport: Transport::Poll,
            device_id: None,
            dialogs: None,
            replace_expired: false,
            held_by,
        };
        self.admit_connect(&identity.user_id, &input)?;
        for _ in 0..ATTACH_ATTEMPTS_MAX {
            // Its client may be attaching in this very moment: whoever reads it is not superseded for a command.
            if let Ok(session) = self.require_session(identity, asked) {
                return Ok(session);
            }
            match self.resume_from_record(identity, &input, &id, false).await? {
                Found::Attached(reading) => return Ok(reading.session().clone()),
                Found::JustEnded | Found::Overtaken => {}
                Found::Nothing => return Err(session_gone()),
            }
        }
        Err(changes_hands())
    }

    /// Asks the node that holds a session to write it down and let it go, and waits a moment for that. Whether it does
    /// or not, what is written down decides.
    pub(super) async fn ask_for(
        &self,
        user: &UserId,
        session: &SessionId,
        holder: &str,
    ) -> Result<(), BusError> {
        // The answer comes by the user's feed.
        self.feeds.open(&FeedKey::User(user.clone())).await?;
        let handover = self.handovers.expect(session);
        let wanted = NodeWord::Wanted { session: session.clone(), holder: holder.to_owned() };
        self.say(user, &wanted).await?;
        if !handover.wait().await {
            tracing::info!(holder, "a node that holds a session did not let it go in time");
        }
        Ok(())
    }

    /// Tells whoever has an older copy of the session that it is here now.
    pub(super) async fn say_moved_here(&self, session: &Arc<LiveSession>) {
        let generation = session.peek(Session::epoch);
        self.say_moved(session.user_id(), session.id(), generation).await;
    }

    /// Tells whoever has a copy of the session that it is over.
    pub(super) async fn say_over(&self, user: &UserId, session: &SessionId) {
        self.say_moved(user, session, u32::MAX).await;
    }

    async fn say_moved(&self, user: &UserId, session: &SessionId, generation: u32) {
        let moved = NodeWord::Moved { session: session.clone(), generation };
        if let Err(error) = self.say(user, &moved).await {
            // The older copy hears of it when it next writes its record.
            tracing::debug!(%error, "other nodes were not told that a session moved");
        }
    }

    async fn say(&self, user: &UserId, word: &NodeWord) -> Result<(), BusError> {
        let event = self.ports.codec.node_word(user, word);
        self.ports.bus.publish_ephemeral(&FeedKey::User(user.clone()), event).await
    }

    /// A node, perhaps this one, has said something about a session of the user.
    pub(in crate::application) fn hear(self: &Arc<Self>, user: &UserId, word: &NodeWord) {
        match word {
            NodeWord::Released { session } => self.handovers.released(session),
            NodeWord::Wanted { session, holder } if *holder == self.config.node => {
                let (gateway, user, id) = (self.clone(), user.clone(), session.clone());
                self.tasks.spawn(async move { gateway.let_go(&user, &id).await });
            }
            NodeWord::Wanted { .. } => {}
            NodeWord::Moved { session, generation } => {
                let held = self
                    .sessions
                    .find(session)
                    .filter(|held| held.user_id() == user && held.peek(Session::epoch) < *generation);
                if let Some(held) = held {
                    let gateway = self.clone();
                    self.tasks.spawn(async move { gateway.supersede(&held).await });
                }
            }
        }
    }

    /// What other nodes said may have been missed: sees whether one of them has rebuilt the session meanwhile; then it
    /// is over here.
    pub(in crate::application) fn verify_owner(self: &Arc<Self>, session: &Arc<LiveSession>) {
        if !session.begin_verifying() {
            return;
        }
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks.spawn(async move {
            for _ in 0..VERIFY_ATTEMPTS_MAX {
                tokio::time::sleep(VERIFY_SPREAD.mul_f64(fastrand::f64())).await;
                if let Ok(owner) = gateway.ports.nodes.owner(session.id()).await {
                    let later = owner.is_some_and(|owner| {
                        owner.node != gateway.config.node && owner.generation > session.peek(Session::epoch)
                    });
                    if later {
                        gateway.supersede(&session).await;
                    }
                    break;
                }
            }
            session.end_verifying();
        });
    }

    /// Another node wants the session: it ends here, and its record says all that there is to know.
    async fn let_go(self: &Arc<Self>, user: &UserId, id: &SessionId) {
        if let Some(session) = self.sessions.find(id).filter(|session| session.user_id() == user) {
            // From here on its reader is handed nothing more: what it has by now is what the record must know of.
            let (snapshot, _) = session.with(|machine| {
                machine.supersede();
                machine.next_snapshot()
            });
            if session.peek(Session::is_superseded)
                && let Err(error) = self.ports.records.save(&snapshot).await
            {
                tracing::warn!(%error, "the record of a session that another node wants was not saved");
            }
            self.bury(&session).await;
        }
        let released = NodeWord::Released { session: id.clone() };
        if let Err(error) = self.say(user, &released).await {
            tracing::debug!(%error, "a node that wants a session was not told that it may have it");
        }
    }

    /// Ends a session of which there is only a record here.
    pub(super) async fn delete_record(&self, identity: &Identity, id: &SessionId) -> Result<(), Refusal> {
        let record = self.ports.records.load(id).await.map_err(bus_refusal)?;
        if record.is_none_or(|record| record.user_id != identity.user_id) {
            return Err(session_gone());
        }
        self.ports.records.remove(id, &identity.user_id).await.map_err(bus_refusal)?;
        // Its node may be alive after all.
        self.say_over(&identity.user_id, id).await;
        self.note_step(RosterStep {
            step: Step::Turn(SessionTurn::Ended),
            user_id: identity.user_id.clone(),
            session_id: id.clone(),
            generation: u32::MAX,
            device_id: None,
            transport: None,
            token: fastrand::u64(1..),
            at: self.ports.clock.unix(),
        });
        Ok(())
    }
}
