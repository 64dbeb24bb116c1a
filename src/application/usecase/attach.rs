//! Attaching: a new session, the same one, or one rebuilt from the logs.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tracing::Instrument;

use super::presence::bus_refusal;
use super::subscribe::Start;
use crate::application::care::Recorded;
use crate::application::command::{Subscribed, Targets};
use crate::application::farewell::going_away;
use crate::application::gateway::Gateway;
use crate::application::ports::auth::{AuthError, Identity};
use crate::application::ports::bus::BusError;
use crate::application::ports::roster::Entered;
use crate::application::ports::telemetry::labels::Limit;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::pressure::Stage;
use crate::application::sessions::lanes::Lane;
use crate::application::sessions::live::LiveSession;
use crate::application::sessions::told::Told;
use crate::application::trace::RequestContext;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{DeviceId, DialogId, FeedKey, SessionId, UserId};
use crate::domain::time::UnixMillis;
use crate::session::cursor::Cursor;
use crate::session::machine::Session;
use crate::session::reader::{
    AttachRefused, AttachRequest, Attached, Dismissal, DrainBudget, Drained, Outgoing, ReaderId, Resume,
    Transport,
};
use crate::session::snapshot::{SessionSnapshot, SubscribeOptions};

/// Feeds of a rebuilt session that are joined at the same time.
const REJOINS_AT_ONCE_MAX: usize = 64;
/// How often a user's sessions are counted again before one too many is refused.
const ROOM_LOOKS_MAX: usize = 4;
/// The wait between two counts.
const ROOM_LOOK_EVERY: Duration = Duration::from_millis(50);
/// When whoever has found a session that could not be rebuilt may come back.
const COME_BACK_AFTER: Duration = Duration::from_millis(500);
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

/// A reader of a session. Whoever holds it may read; when it is dropped, nobody does.
pub struct Reading {
    gateway: Arc<Gateway>,
    session: Arc<LiveSession>,
    reader: ReaderId,
    transport: Transport,
    /// The bus's time when it began to read.
    since: UnixMillis,
    /// How the session goes on.
    pub resume: Resume,
    /// From where it goes on.
    pub cursor: Cursor,
    /// What came of the dialogs that were asked for.
    pub subscribed: Option<Box<Subscribed>>,
}

impl Reading {
    /// The session that is read.
    #[must_use]
    pub fn session(&self) -> &Arc<LiveSession> {
        &self.session
    }

    /// The node that it is read at.
    #[must_use]
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Waits for what the reader does not have yet. Nothing leaves the session's queue by this.
    pub fn poll_drain(
        &self,
        cx: &mut Context<'_>,
        budget: DrainBudget,
        out: &mut Vec<Outgoing>,
    ) -> Poll<Drained> {
        let before = out.len();
        let (drained, needs_care) = ready!(self.session.poll_drain(cx, self.reader, budget, out));
        self.note(&out[before..]);
        if needs_care {
            self.gateway.attend(&self.session);
        }
        Poll::Ready(drained)
    }

    /// Counts what is handed to the connection.
    fn note(&self, outgoing: &[Outgoing]) {
        if outgoing.is_empty() {
            return;
        }
        let telemetry = &*self.gateway.ports.telemetry;
        let bytes = outgoing.iter().filter_map(Outgoing::event).map(|event| event.body.len() as u64).sum();
        let events = outgoing.len() as u64;
        telemetry.record(Occurrence::Delivered { transport: self.transport, events, bytes });
        // One of a batch stands for all: they waited for the same write.
        let fresh = |event: &&Arc<Event>| event.logged.as_ref().is_some_and(|logged| logged.at >= self.since);
        let Some(event) = outgoing.iter().filter_map(Outgoing::event).find(fresh) else { return };
        let now = self.gateway.ports.bus.time();
        if let Some(logged) = &event.logged {
            telemetry.record(Occurrence::DeliveryLatency(now.since(logged.at)));
        }
        if let EventKind::Message { created_at: Some(at), .. } = event.kind {
            telemetry.record(Occurrence::CommitLatency(now.since(at)));
        }
    }

    /// The same, to be awaited.
    pub async fn drain(&self, budget: DrainBudget, out: &mut Vec<Outgoing>) -> Drained {
        std::future::poll_fn(|cx| self.poll_drain(cx, budget, out)).await
    }

    /// The cursor of the last event that was handed out.
    #[must_use]
    pub fn reached(&self) -> Option<Cursor> {
        self.session.peek(|machine| machine.reader_cursor(self.reader))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let now = self.gateway.ports.clock.tick();
        self.session.with(|machine| machine.detach(self.reader, now));
        self.gateway.schedule(&self.session);
    }
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

    async fn begin(
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
    async fn enter_roster(&self, user: &UserId, session: &SessionId, epoch: u32) -> Result<(), Refusal> {
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

    async fn follow_own_feed(self: &Arc<Self>, session: &Arc<LiveSession>) -> Result<(), Refusal> {
        let own = FeedKey::User(session.user_id().clone());
        let options = SubscribeOptions { presence: false, typing: false };
        let start = Start { since: None, asked: self.about_to_ask(session), stood: None };
        match self.follow(session, &own, options, start).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::new(ErrorCode::Unavailable, "the event bus does not answer")),
        }
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

    pub(super) async fn resume_from_record(
        self: &Arc<Self>,
        identity: &Identity,
        input: &AttachInput,
        id: &SessionId,
        counted: bool,
    ) -> Result<Found, Refusal> {
        if self.is_leaving() {
            return Err(going_away());
        }
        self.require_room(Stage::NoReplays)?;
        if let Some(holder) = &input.held_by {
            self.ask_for(&identity.user_id, id, holder).await.map_err(bus_refusal)?;
        }
        let record = self.ports.records.load(id).await.map_err(bus_refusal)?;
        let Some(mut record) = record.filter(|record| record.user_id == identity.user_id) else {
            return Ok(Found::Nothing);
        };
        let cursor = parse_cursor(input)?;
        // One that was forgotten counts anew.
        self.enter_roster(&identity.user_id, id, record.acknowledged.epoch).await?;
        let dropped = self.drop_lost_memberships(&identity.user_id, &mut record).await?;
        let mut machine =
            Session::from_snapshot(self.config.session.clone(), record, self.ports.clock.tick());
        let request = request(input, cursor, identity, counted);
        let attached = machine.attach(&request, self.ports.bus.time()).map_err(refused)?;
        let follows_all = machine.follow_all().is_some();
        let session = LiveSession::new(machine);
        if self.sessions.insert(&session).is_some() {
            // Another attach was quicker: go on with that one.
            return Ok(Found::JustEnded);
        }
        let reading = self.reading(session.clone(), input.transport, attached, Resume::Rebuilt, None);
        let finishing = self.clone().finish_rebuild(reading, follows_all || dropped);
        // Its client may go away meanwhile: what has been begun is finished, or given up.
        let finishing = match RequestContext::current() {
            Some(request) => self.tasks.spawn(request.scope(finishing.in_current_span())),
            None => self.tasks.spawn(finishing.in_current_span()),
        };
        match finishing.await {
            Ok(found) => found,
            Err(_) => {
                // It has panicked.
                self.give_up_rebuild(&session).await;
                Err(changes_hands())
            }
        }
    }

    /// Sees to it that a session that was rebuilt here is followed by its feeds, and known to be here.
    async fn finish_rebuild(
        self: Arc<Self>,
        reading: Reading,
        may_have_moved: bool,
    ) -> Result<Found, Refusal> {
        let session = reading.session().clone();
        if let Err(refusal) = self.rejoin(&session).await {
            self.give_up_rebuild(&session).await;
            return Err(refusal);
        }
        match self.save_record(&session).await {
            Recorded::Written => {}
            // It was attached at another node meanwhile, or deleted; or its old node has written it since it was read.
            Recorded::Gone => return Ok(Found::Overtaken),
            Recorded::NotWritten => {
                // Nobody must get a cursor of a generation that nobody else knows of.
                self.give_up_rebuild(&session).await;
                return Err(bus_refusal(BusError::Unavailable));
            }
        }
        self.say_moved_here(&session).await;
        self.say_here(&session).await;
        if may_have_moved {
            // Dialogs that were joined meanwhile.
            self.recheck_soon(&session);
        }
        self.attend(&session);
        Ok(Found::Attached(Box::new(reading)))
    }

    /// The record is as it was: the next attach tries again. Another may have found the session here meanwhile: its client
    /// has lost nothing, and is asked to come back.
    async fn give_up_rebuild(self: &Arc<Self>, session: &Arc<LiveSession>) {
        session.with(|machine| {
            machine.dismiss(Dismissal::Draining { reconnect_after: COME_BACK_AFTER });
            machine.end(Dismissal::Expired);
        });
        self.bury(session).await;
    }

    /// Asks the Store about every dialog of a record: nothing of a dialog may leave after its user was removed.
    async fn drop_lost_memberships(
        &self,
        user: &UserId,
        record: &mut SessionSnapshot,
    ) -> Result<bool, Refusal> {
        let dialogs: Vec<DialogId> =
            record.subscriptions.iter().filter_map(|kept| kept.feed.dialog().cloned()).collect();
        let call = Self::call_for(user, None);
        let answers = self.memberships.ask(&call, &dialogs).await;
        let mut lost = Vec::new();
        for (dialog, answer) in dialogs.into_iter().zip(answers) {
            let checked = answer.map_err(crate::application::command::store_refusal)?;
            if !checked.membership.readable() {
                lost.push(FeedKey::Dialog(dialog));
            }
        }
        record.keep_subscriptions(|kept| !lost.contains(&kept.feed));
        Ok(!lost.is_empty())
    }

    async fn rejoin(self: &Arc<Self>, session: &Arc<LiveSession>) -> Result<(), Refusal> {
        let own = FeedKey::User(session.user_id().clone());
        let feeds = session.peek(|machine| machine.subscriptions().feeds());
        if !feeds.contains(&own) {
            self.follow_own_feed(session).await?;
        }
        let mut joins = stream::iter(feeds)
            .map(|feed| async move { self.join_feed(session, &feed).await })
            .buffer_unordered(REJOINS_AT_ONCE_MAX);
        while let Some(joined) = joins.next().await {
            joined.map_err(bus_refusal)?;
        }
        Ok(())
    }

    fn reading(
        self: &Arc<Self>,
        session: Arc<LiveSession>,
        transport: Transport,
        attached: Attached,
        resume: Resume,
        subscribed: Option<Subscribed>,
    ) -> Reading {
        if self.is_leaving() {
            // It came in while the others were being sent away.
            session.with(|machine| machine.send_away(Duration::ZERO));
        }
        self.schedule(&session);
        Reading {
            since: self.ports.bus.time(),
            gateway: self.clone(),
            session,
            reader: attached.reader,
            transport,
            resume,
            cursor: attached.cursor,
            subscribed: subscribed.map(Box::new),
        }
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

fn request(input: &AttachInput, cursor: Option<Cursor>, identity: &Identity, counted: bool) -> AttachRequest {
    AttachRequest {
        cursor,
        attach: input.attach,
        counted,
        transport: input.transport,
        token_expires_at: identity.expires_at,
    }
}

fn parse_cursor(input: &AttachInput) -> Result<Option<Cursor>, Refusal> {
    let parsed = input.cursor.as_deref().map(str::parse).transpose();
    parsed.map_err(|_| refused(AttachRefused::CursorInvalid))
}

fn refused(why: AttachRefused) -> Refusal {
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
