//! Attaching: looking for the session that is meant, and going on with it.

use std::sync::Arc;

use tracing::Instrument;

use super::presence::bus_refusal;
use super::reading::Reading;
use crate::application::command::Targets;
use crate::application::farewell::going_away;
use crate::application::gateway::Gateway;
use crate::application::ports::auth::{AuthError, Identity};
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::sessions::live::LiveSession;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::{DeviceId, SessionId};
use crate::session::cursor::Cursor;
use crate::session::machine::Session;
use crate::session::reader::{AttachRefused, AttachRequest, Dismissal, Resume, Transport};

/// How often an attach looks again when the session it found has just ended.
pub(super) const ATTACH_ATTEMPTS_MAX: usize = 3;

/// A client's wish to attach, with what a transport could read of it.
#[derive(Debug, Clone)]
pub struct AttachInput {
    /// The session to go on with; as text, since one that can't exist is like one that doesn't.
    pub session: Option<String>,
    /// What the client has; as text, for the same reason.
    pub cursor: Option<String>,
    /// The client's own count of its attaches.
    pub attach: Option<u64>,
    /// How it will read.
    pub transport: Transport,
    /// On which device a new session is.
    pub device_id: Option<DeviceId>,
    /// What a new session follows at once.
    pub dialogs: Option<Targets>,
    /// Whether a session that is gone is replaced by a new one.
    pub replace_expired: bool,
    /// The node that holds the session and seems to be alive: it is asked to let it go. `None`: nobody is asked.
    pub held_by: Option<String>,
}

impl Gateway {
    /// Attaches a reader.
    ///
    /// # Errors
    /// A [`Refusal`]; the session it was about, and its live reader, are unharmed.
    pub async fn attach(
        self: &Arc<Self>,
        identity: &Identity,
        input: AttachInput,
    ) -> Result<Reading, Refusal> {
        let transport = input.transport;
        // It ends with the attach: whoever reads for days must not hold a span.
        let span = tracing::debug_span!("attach", otel.kind = "server", transport = transport.as_str());
        let result = self.attach_or_refuse(identity, input).instrument(self.in_trace(span)).await;
        if let Ok(reading) = &result {
            self.note_attached(reading.session(), transport);
        }
        let occurrence = match &result {
            Ok(reading) => Occurrence::Attached(transport, reading.resume),
            Err(refusal) => Occurrence::AttachRefused(transport, refusal.code),
        };
        self.ports.telemetry.record(occurrence);
        result
    }

    async fn attach_or_refuse(
        self: &Arc<Self>,
        identity: &Identity,
        input: AttachInput,
    ) -> Result<Reading, Refusal> {
        if !identity.scopes.read {
            return Err(Refusal::new(ErrorCode::Forbidden, "the token does not allow reading"));
        }
        self.admit_connect(&identity.user_id, &input)?;
        let Some(asked) = &input.session else {
            return self.begin(identity, &input, Resume::New).await;
        };
        let Ok(id) = SessionId::parse(asked) else { return self.replace_gone(identity, &input).await };
        let mut counted = false;
        for _ in 0..ATTACH_ATTEMPTS_MAX {
            let found = match self.session_of(identity, &id) {
                Some(session) => self.resume_here(identity, &input, session, counted).await?,
                None => self.resume_from_record(identity, &input, &id, counted).await?,
            };
            match found {
                Found::Attached(reading) => return Ok(*reading),
                Found::JustEnded => {}
                Found::Overtaken => counted = true,
                Found::Nothing => return self.replace_gone(identity, &input).await,
            }
        }
        Err(changes_hands())
    }

    async fn replace_gone(
        self: &Arc<Self>,
        identity: &Identity,
        input: &AttachInput,
    ) -> Result<Reading, Refusal> {
        if input.replace_expired {
            self.begin(identity, input, Resume::Expired).await
        } else {
            Err(session_gone())
        }
    }

    /// A session of this node, if it is this user's.
    #[must_use]
    pub fn session_of(&self, identity: &Identity, id: &SessionId) -> Option<Arc<LiveSession>> {
        self.sessions.find(id).filter(|session| *session.user_id() == identity.user_id)
    }

    /// A session of this node by what a client calls it.
    ///
    /// # Errors
    /// `session_gone`, also for another user's; `draining` once the session goes on elsewhere.
    pub fn require_session(&self, identity: &Identity, asked: &str) -> Result<Arc<LiveSession>, Refusal> {
        let id = SessionId::parse(asked).map_err(|_| session_gone())?;
        let gone = || if self.is_leaving() { going_away() } else { session_gone() };
        let session = self.session_of(identity, &id).ok_or_else(gone)?;
        match session.peek(|machine| (machine.ended().is_some(), machine.is_sent_away())) {
            (true, _) => Err(session_gone()),
            (false, true) => Err(going_away()),
            (false, false) => Ok(session),
        }
    }

    /// Ends a session, wherever it is kept.
    ///
    /// # Errors
    /// `session_gone`, also for another user's.
    pub async fn delete_session(self: &Arc<Self>, identity: &Identity, asked: &str) -> Result<(), Refusal> {
        let id = SessionId::parse(asked).map_err(|_| session_gone())?;
        if let Some(session) = self.session_of(identity, &id) {
            self.end_session(&session, Dismissal::Deleted).await;
            return Ok(());
        }
        self.delete_record(identity, &id).await
    }

    async fn resume_here(
        self: &Arc<Self>,
        identity: &Identity,
        input: &AttachInput,
        session: Arc<LiveSession>,
        counted: bool,
    ) -> Result<Found, Refusal> {
        self.require_good_conduct(&session)?;
        let cursor = parse_cursor(input)?;
        let went_on = match cursor {
            Some(cursor) if cursor.epoch > session.peek(Session::epoch) => {
                self.went_on_elsewhere(&session).await?
            }
            Some(_) => false,
            // Nothing tells of which generation the client knows. If nobody can say, this one is as good as any.
            None => self.went_on_elsewhere(&session).await.unwrap_or(false),
        };
        if went_on {
            return Ok(Found::JustEnded);
        }
        let request = request(input, cursor, identity, counted);
        let now_bus = self.ports.bus.time();
        match session.attach(&request, now_bus) {
            Ok((attached, was_here)) => {
                let reading = self.reading(session.clone(), input.transport, attached, attached.resume, None);
                if session.peek(Session::is_unrecorded) {
                    // The new generation must be known wherever its cursors may be presented.
                    self.record_what_is_promised(&session).await?;
                }
                if !was_here {
                    self.say_here(&session).await;
                }
                if session.needs_care() {
                    self.attend(&session);
                }
                Ok(Found::Attached(Box::new(reading)))
            }
            Err(AttachRefused::Ended) => {
                // Expired a moment ago: its record is there. Ended for good: it is not.
                self.sessions.remove(&session);
                let expired = session.peek(Session::ended) == Some(Dismissal::Expired);
                Ok(if expired { Found::JustEnded } else { Found::Nothing })
            }
            Err(refusal) => Err(refused(refusal)),
        }
    }

    /// Whether another node has rebuilt the session since it was here; then it is over here.
    async fn went_on_elsewhere(self: &Arc<Self>, session: &Arc<LiveSession>) -> Result<bool, Refusal> {
        let record = self.ports.records.load(session.id()).await.map_err(bus_refusal)?;
        let later = record.is_some_and(|record| record.acknowledged.epoch > session.peek(Session::epoch));
        if later {
            self.supersede(session).await;
        }
        Ok(later)
    }
}

/// What came of looking for a session.
pub(super) enum Found {
    /// It is here, and read.
    Attached(Box<Reading>),
    /// It has just ended here, or another was quicker: to be looked for again.
    JustEnded,
    /// It was attached here, and this copy of it was over before anybody was told: to be looked for again. Its record may
    /// know of the attach.
    Overtaken,
    /// There is none.
    Nothing,
}

/// To whoever looks for a session that is there, and changes hands: that must not cost its client the session.
pub(super) fn changes_hands() -> Refusal {
    Refusal::new(ErrorCode::Unavailable, "the session is being taken over")
}

pub(super) fn request(
    input: &AttachInput,
    cursor: Option<Cursor>,
    identity: &Identity,
    counted: bool,
) -> AttachRequest {
    AttachRequest {
        cursor,
        attach: input.attach,
        counted,
        transport: input.transport,
        token_expires_at: identity.expires_at,
    }
}

pub(super) fn parse_cursor(input: &AttachInput) -> Result<Option<Cursor>, Refusal> {
    let parsed = input.cursor.as_deref().map(str::parse).transpose();
    parsed.map_err(|_| refused(AttachRefused::CursorInvalid))
}

pub(super) fn refused(why: AttachRefused) -> Refusal {
    match why {
        AttachRefused::Stale => Refusal::new(ErrorCode::StaleAttach, "a later attach has been seen"),
        AttachRefused::CursorInvalid => {
            Refusal::new(ErrorCode::CursorInvalid, "the cursor is not of this session or ahead of it")
        }
        AttachRefused::Ended => session_gone(),
        AttachRefused::SentAway => going_away(),
    }
}

/// To whoever names a session that is not there, or not this user's.
#[must_use]
pub fn session_gone() -> Refusal {
    Refusal::new(ErrorCode::SessionGone, "there is no such session")
}

/// Credentials that don't verify, as a client is told.
#[must_use]
pub fn unverified(error: AuthError) -> Refusal {
    match error {
        AuthError::Unauthorized => Refusal::new(ErrorCode::Unauthorized, "the credentials do not verify"),
        AuthError::Expired => Refusal::new(ErrorCode::TokenExpired, "the token has expired"),
        AuthError::Unavailable => Refusal::new(ErrorCode::Unavailable, "tokens can't be verified right now"),
    }
}
