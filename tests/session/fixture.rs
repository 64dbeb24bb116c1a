//! A session, and events to push into it.

use std::sync::Arc;

use bytes::Bytes;
use edgeway::domain::event::{Event, EventKind, LogPosition, Logged, MembershipChange};
use edgeway::domain::ids::{DialogId, FeedKey, SessionId, UserId};
use edgeway::domain::presence::TypingState;
use edgeway::domain::time::{Tick, UnixMillis};
use edgeway::session::catch_up::CatchUp;
use edgeway::session::cursor::Cursor;
use edgeway::session::machine::{Config, Session};
use edgeway::session::outbox::OutboxLimits;
use edgeway::session::piece::{CaughtUp, Progress};
use edgeway::session::reader::{
    AttachRefused, AttachRequest, Attached, DrainBudget, Drained, Outgoing, ReaderId, Transport,
};
use edgeway::session::snapshot::SubscribeOptions;
use edgeway::session::subscriptions::Confirmed;

pub(crate) const OPTIONS: SubscribeOptions = SubscribeOptions { presence: true, typing: true };
pub(crate) const FIRST_EPOCH: u32 = 10;
/// The bus's time when sessions begin.
pub(crate) const BEGAN: UnixMillis = UnixMillis(1_000_000);
/// Everything that was published has arrived.
pub(crate) const SETTLED: UnixMillis = UnixMillis(u64::MAX);
pub(crate) const TOKEN_EXPIRES: UnixMillis = UnixMillis(BEGAN.0 + 3_600_000);

pub(crate) fn config(events: usize, bytes: usize) -> Arc<Config> {
    Arc::new(Config { outbox: OutboxLimits { events, bytes }, ..Config::default() })
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub(crate) fn dialog(name: &str) -> DialogId {
    DialogId::parse(name).unwrap()
}

/// The feed of a dialog.
pub(crate) fn feed(name: &str) -> FeedKey {
    FeedKey::Dialog(dialog(name))
}

/// The feed of the session's user.
pub(crate) fn own() -> FeedKey {
    FeedKey::User(user("alice"))
}

pub(crate) fn at(offset: u64) -> LogPosition {
    LogPosition { epoch: "e".into(), offset }
}

/// Alice's session: follows her own feed and these dialogs, all in step at offset 0.
pub(crate) fn session(config: &Arc<Config>, dialogs: &[&str]) -> Session {
    let id = SessionId::parse("s").unwrap();
    let mut session = Session::new(config.clone(), id, user("alice"), None, FIRST_EPOCH, Tick(0), BEGAN);
    follow(&mut session, &own(), 0);
    for name in dialogs {
        follow(&mut session, &feed(name), 0);
    }
    session
}

/// Follows a feed from an offset on that is the log's newest.
pub(crate) fn follow(session: &mut Session, feed: &FeedKey, offset: u64) {
    session.subscribe(feed, OPTIONS, at(offset), confirmed(offset), offset).unwrap();
    in_step(session, feed);
}

/// The Store has said that the user belongs to the dialog when its log stood here, and the own feed at its beginning.
pub(crate) fn confirmed(offset: u64) -> Confirmed {
    Confirmed { feed: at(offset), own: Some(at(0)), at: SETTLED }
}

/// Lets a catch-up find nothing.
pub(crate) fn in_step(session: &mut Session, feed: &FeedKey) {
    let Some(asked) = session.catch_up(feed) else { return };
    let position = asked.position.clone();
    apply(session, piece(asked, position.offset, vec![], position.offset));
}

/// A piece of a log: `events` after `start`, complete at `reached`.
pub(crate) fn piece(asked: CatchUp, start: u64, events: Vec<Arc<Event>>, reached: u64) -> CaughtUp {
    CaughtUp { asked, start: at(start), gap: vec![], events, reached: at(reached), complete: true }
}

/// A gap up to an offset that ends the log, with this many messages that make up for it.
pub(crate) fn gap_piece(asked: CatchUp, to: u64, restored: u64) -> CaughtUp {
    let before = asked.position.clone();
    let of = |kind| Event {
        feed: asked.feed.clone(),
        logged: None,
        kind,
        body: Bytes::from_static(b"0123456789"),
    };
    let gap = of(EventKind::Gap { before, after: (restored == 0).then(|| at(to)) });
    let messages =
        (1..=restored).map(|seq| of(EventKind::Restored { after: (seq == restored).then(|| at(to)), seq }));
    let gap = std::iter::once(gap).chain(messages).map(Arc::new).collect();
    CaughtUp { asked, start: at(to), gap, events: vec![], reached: at(to), complete: true }
}

pub(crate) fn apply(session: &mut Session, piece: CaughtUp) -> Progress {
    session.apply(piece, SETTLED).progress
}

/// Asks for what a feed lacks, and gives it these events, up to the last.
pub(crate) fn catch_up(session: &mut Session, feed: &FeedKey, events: Vec<Arc<Event>>) -> Progress {
    let asked = session.catch_up(feed).expect("the feed is behind");
    let start = asked.position.offset;
    let reached = events.last().map_or(start, |event| event.logged.as_ref().unwrap().offset);
    apply(session, piece(asked, start, events, reached))
}

pub(crate) fn logged(feed: &FeedKey, offset: u64, kind: EventKind, size: usize) -> Arc<Event> {
    logged_at(feed, offset, BEGAN.0 + offset, kind, size)
}

pub(crate) fn logged_at(feed: &FeedKey, offset: u64, time: u64, kind: EventKind, size: usize) -> Arc<Event> {
    let logged = Some(Logged { epoch: "e".into(), offset, at: UnixMillis(time) });
    Arc::new(Event { feed: feed.clone(), logged, kind, body: Bytes::from(vec![b'x'; size]) })
}

/// Bob's message, its `seq` its offset, 10 bytes.
pub(crate) fn message(feed: &FeedKey, offset: u64) -> Arc<Event> {
    logged(feed, offset, EventKind::Message { sender: user("bob"), seq: offset, created_at: None }, 10)
}

pub(crate) fn message_at(feed: &FeedKey, offset: u64, time: u64) -> Arc<Event> {
    logged_at(
        feed,
        offset,
        time,
        EventKind::Message { sender: user("bob"), seq: offset, created_at: None },
        10,
    )
}

pub(crate) fn messages(feed: &FeedKey, offsets: std::ops::RangeInclusive<u64>) -> Vec<Arc<Event>> {
    offsets.map(|offset| message(feed, offset)).collect()
}

/// Alice joins or leaves a dialog.
pub(crate) fn membership(feed: &FeedKey, offset: u64, name: &str, change: MembershipChange) -> Arc<Event> {
    let kind = EventKind::Membership { dialog: dialog(name), user: user("alice"), change };
    logged(feed, offset, kind, 10)
}

pub(crate) fn typing(feed: &FeedKey, who: &str, state: TypingState) -> Arc<Event> {
    let kind = EventKind::Typing { user: user(who), state };
    Arc::new(Event { feed: feed.clone(), logged: None, kind, body: Bytes::from_static(b"typing") })
}

pub(crate) fn push_all(session: &mut Session, events: &[Arc<Event>]) {
    for event in events {
        session.push(event, SETTLED);
    }
}

pub(crate) fn request(cursor: Option<Cursor>, attach: Option<u64>) -> AttachRequest {
    let transport = Transport::WebSocket;
    AttachRequest { cursor, attach, counted: false, transport, token_expires_at: TOKEN_EXPIRES }
}

pub(crate) fn try_attach(session: &mut Session, cursor: Option<Cursor>) -> Result<Attached, AttachRefused> {
    session.attach(&request(cursor, None), UnixMillis(BEGAN.0 + 1_000_000))
}

pub(crate) fn attach(session: &mut Session, cursor: Option<Cursor>) -> Attached {
    try_attach(session, cursor).unwrap()
}

pub(crate) fn drain(session: &mut Session, reader: ReaderId, events: usize) -> (Vec<Outgoing>, Drained) {
    let mut out = Vec::new();
    let drained = session.drain(reader, DrainBudget { events, bytes: usize::MAX }, &mut out);
    (out, drained)
}

/// The resumable events that a reader gets now, all of them.
pub(crate) fn read(session: &mut Session, reader: ReaderId) -> Vec<(Cursor, Arc<Event>)> {
    resumable(drain(session, reader, usize::MAX).0)
}

pub(crate) fn resumable(out: Vec<Outgoing>) -> Vec<(Cursor, Arc<Event>)> {
    out.into_iter()
        .filter_map(|outgoing| match outgoing {
            Outgoing::Event { cursor, event } => Some((cursor, event)),
            _ => None,
        })
        .collect()
}

/// Their offsets.
pub(crate) fn offsets(events: &[(Cursor, Arc<Event>)]) -> Vec<u64> {
    events.iter().filter_map(|(_, event)| event.logged.as_ref().map(|logged| logged.offset)).collect()
}
