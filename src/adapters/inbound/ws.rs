//! WebSocket: one task per connection reads, writes, and carries commands out side by side.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::HeaderMap;
use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::http::asked::request_context;
use super::http::attach_query::AttachQuery;
use super::http::client::{ClientIp, admit_connect};
use super::http::credentials::Credentials;
use super::http::edge::Edge;
use super::http::reject::Rejection;
use super::http::relay;
use super::listener::slot::ConnectionSlot;
use super::websocket::handshake;
use super::websocket::reader::Incoming;
use super::websocket::socket::{Event, SocketError, WebSocket};
use super::websocket::transport::Transport as Stream;
use super::wire::commands::{Hello, Parsed, Said, parse_frame};
use super::wire::control::{GoAway, Welcome, goaway_json, token_expiring_json, welcome_json};
use super::wire::errors::{CLOSE_NO_PONG, CLOSE_SLOW_CONSUMER, close_code, error_json};
use super::wire::events::{PREFIX_MAX_BYTES, write_prefix};
use super::wire::replies::reply_json;
use crate::application::admission::Connect;
use crate::application::command::{Command, Reply};
use crate::application::ports::auth::{AuthError, Identity};
use crate::application::ports::telemetry::labels::CommandType;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::sessions::live::LiveSession;
use crate::application::trace::RequestContext;
use crate::application::usecase::attach::{Reading, unverified};
use crate::domain::error::{ErrorCode, Refusal};
use crate::session::reader::{Dismissal, DrainBudget, Drained, Outgoing, Transport};

/// The subprotocol of RFC 6455 §1.9 that this server speaks.
pub const SUBPROTOCOL: &str = "edgeway.v1";
/// How long a client without credentials in its request may take to say `hello`.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Beyond the interval of pings, how long nothing at all may come back.
const PONG_GRACE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what waits for it.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// Most commands of one connection that are carried out at the same time; above, nothing more is read.
const COMMANDS_IN_FLIGHT_MAX: usize = 32;
/// How much is taken from the session at once.
const BUDGET: DrainBudget = DrainBudget { events: 64, bytes: 64 * 1024 };
/// RFC 6455 §7.4.1.
const CLOSE_NORMAL: u16 = 1000;

type Socket = WebSocket<Stream<TcpStream>>;

/// Upgrades the connection. What is wrong with the request itself is answered by HTTP; what is wrong with credentials,
/// session or cursor afterwards, since a browser can't see an HTTP status here.
///
/// # Errors
/// A [`Rejection`] with the headers that RFC 6455 §4.4 wants.
pub async fn open_websocket(
    State(edge): State<Arc<Edge>>,
    mut request: Request,
) -> Result<Response, Response> {
    let accepted = handshake::accept(&mut request, SUBPROTOCOL).map_err(|error| {
        let mut response =
            Rejection::of_http(error.status(), "not a WebSocket request of this protocol").into_response();
        response.headers_mut().extend(error.headers());
        response
    })?;
    let query = axum::extract::Query::try_from_uri(request.uri()).map(|query| query.0);
    let headers = request.headers().clone();
    // The connection counts until it ends here, not until HTTP lets go of it.
    let slot = request.extensions().get::<ConnectionSlot>().cloned();
    let client = request.extensions().get::<ClientIp>().copied();
    // Like going on, as long as nobody knows better: the session may be named in a `hello`.
    let admitted = admit_connect(&edge, client, Connect::GoOn);
    let (head, ()) = accepted.response.into_parts();
    let tasks = edge.tasks.clone();
    edge.tasks.clone().spawn(async move {
        let query = query.map_err(|_| Refusal::new(ErrorCode::BadRequest, "the query can't be read"));
        let asking = Asking { query: admitted.and(query), headers, client };
        // Boxed, as are all that a connection does once: its task should be as small as it is while it waits.
        let begun = Box::pin(begin(edge, accepted.upgrade, accepted.deflates, asking)).await;
        let parting = match begun {
            Some(Ok((mut connection, request))) => {
                let serving = poll_fn(|cx| connection.poll(cx));
                let farewell = match request {
                    Some(request) => Box::pin(request.scope(serving)).await,
                    None => serving.await,
                };
                let (socket, unheard) = connection.into_parts();
                if let Some(unheard) = unheard {
                    tasks.spawn(unheard.carry_out());
                }
                farewell.map(|farewell| (socket, farewell))
            }
            Some(Err(parting)) => Some(parting),
            None => None,
        };
        if let Some((socket, farewell)) = parting {
            Box::pin(part(socket, farewell)).await;
        }
        drop(slot);
    });
    Ok(Response::from_parts(head, axum::body::Body::empty()))
}

/// What a request brought.
struct Asking {
    query: Result<AttachQuery, Refusal>,
    headers: HeaderMap,
    client: Option<ClientIp>,
}

/// From the upgrade to an attached connection. `None`: there is nobody any more.
async fn begin(
    edge: Arc<Edge>,
    upgrade: OnUpgrade,
    deflates: bool,
    asking: Asking,
) -> Option<Result<(Box<Connection>, Option<RequestContext>), (Socket, Farewell)>> {
    // All that is said here belongs to the trace of the request that opened it; each command has an id of its own.
    let request = request_context(&asking.headers).and_then(|request| request.trace);
    let request = request.map(|trace| RequestContext { trace: Some(trace), request_id: None });
    let mut socket: Socket = WebSocket::from_upgraded(upgrade.await.ok()?, edge.config.ws_frame_bytes);
    if deflates {
        socket.deflate();
    }
    let admitted = admit(&edge, &mut socket, &asking).await;
    Some(match admitted {
        Ok((identity, reading)) => Ok((Box::new(Connection::new(edge, socket, identity, reading)), request)),
        Err(farewell) => Err((socket, farewell)),
    })
}

async fn part(mut socket: Socket, farewell: Farewell) {
    if let Some(last_words) = farewell.last_words {
        socket.feed_text(&[], last_words.into());
    }
    socket.close(farewell.code, farewell.reason, CLOSE_TIMEOUT).await;
}

/// How a connection ends: a last frame, a code, and its reason in words.
struct Farewell {
    last_words: Option<Vec<u8>>,
    code: u16,
    reason: &'static str,
}

impl Farewell {
    fn silent(code: u16, reason: &'static str) -> Self {
        Self { last_words: None, code, reason }
    }
}

impl From<Refusal> for Farewell {
    fn from(refusal: Refusal) -> Self {
        Self {
            last_words: Some(error_json(&refusal, None)),
            code: close_code(refusal.code),
            reason: refusal.code.as_str(),
        }
    }
}

impl From<Dismissal> for Farewell {
    fn from(dismissal: Dismissal) -> Self {
        let last_words = GoAway::for_dismissal(dismissal).map(|goaway| goaway_json(&goaway));
        let (code, reason) = match dismissal {
            Dismissal::Superseded => (close_code(ErrorCode::Superseded), "superseded"),
            Dismissal::TokenExpired => (close_code(ErrorCode::TokenExpired), "token_expired"),
            Dismissal::Draining { .. } => (close_code(ErrorCode::Draining), "draining"),
            Dismissal::RateLimited { .. } => (close_code(ErrorCode::RateLimited), "rate_limited"),
            Dismissal::Kicked => (close_code(ErrorCode::Forbidden), "kicked"),
            Dismissal::Deleted | Dismissal::Expired => (close_code(ErrorCode::SessionGone), "session_gone"),
            Dismissal::Bye => (CLOSE_NORMAL, "bye"),
        };
        Self { last_words, code, reason }
    }
}

/// Finds out who is there, by the request or by a `hello`, and attaches.
async fn admit(
    edge: &Arc<Edge>,
    socket: &mut Socket,
    asking: &Asking,
) -> Result<(Identity, Reading), Farewell> {
    let query = asking.query.as_ref().map_err(Clone::clone)?;
    let found = Credentials::find(edge, &asking.headers, query);
    let found = found.inspect_err(|refusal| edge.note_refused(Transport::WebSocket, refusal))?;
    if let Some(credentials) = found {
        return Ok(attach(edge, query, asking, credentials, Hello::default()).await?);
    }
    let mut hello = wait_for_hello(edge, socket).await?;
    let token = hello.token.take().ok_or_else(|| unverified(AuthError::Unauthorized))?;
    let attached = attach(edge, query, asking, Credentials::Token(token), hello).await;
    let code = attached.as_ref().err().map(|refusal| refusal.code);
    edge.gateway.telemetry().record(Occurrence::Command(CommandType::Hello, code));
    Ok(attached?)
}

async fn attach(
    edge: &Arc<Edge>,
    query: &AttachQuery,
    asking: &Asking,
    credentials: Credentials,
    hello: Hello,
) -> Result<(Identity, Reading), Refusal> {
    let mut input = query.attach_input_with(hello)?;
    if input.session.is_none()
        && let Some(ClientIp(address)) = asking.client
    {
        edge.gateway.note_address_begins(address);
    }
    let verified = credentials.verify(edge).await;
    let identity = verified.inspect_err(|refusal| edge.note_refused(Transport::WebSocket, refusal))?;
    // A WebSocket is not handed on: the session comes here.
    input.held_by = relay::holder(edge, &identity, input.session.as_deref()).await?;
    let reading = match request_context(&asking.headers) {
        Some(request) => Box::pin(request.scope(edge.gateway.attach(&identity, input))).await?,
        None => edge.gateway.attach(&identity, input).await?,
    };
    Ok((identity, reading))
}

async fn wait_for_hello(edge: &Edge, socket: &mut Socket) -> Result<Hello, Farewell> {
    let nobody = || Farewell::from(Refusal::new(ErrorCode::Unauthorized, "no hello with a token in time"));
    let first = timeout(HELLO_TIMEOUT, async {
        loop {
            match socket.event(edge.gateway.clock().tick()).await {
                Some(Ok(Event::Received(Incoming::Text(text)))) => return Ok(text),
                Some(Ok(_)) => {}
                Some(Err(SocketError::Violation(violation))) => {
                    return Err(Farewell::silent(violation.close_code, violation.reason));
                }
                Some(Err(SocketError::Io(_))) | None => {
                    return Err(Farewell::silent(CLOSE_NORMAL, ""));
                }
            }
        }
    });
    let text = first.await.map_err(|_| nobody())??;
    match parse_frame(text.as_bytes()).said? {
        Said::Hello(hello) => Ok(*hello),
        Said::Command(_) => Err(nobody()),
    }
}

/// A command's answer on its way back.
struct Answered {
    reference: Option<String>,
    result: Result<Reply, Refusal>,
}

/// A `bye` waits until what was said before it has been answered; after it nothing is read.
enum Bye {
    Unsaid,
    Waiting(Option<String>),
    UnderWay,
}

/// What a client has said before it went. It is carried out all the same: a page that closes says how far it was read, and
/// does not wait for the answer.
struct Unheard {
    edge: Arc<Edge>,
    identity: Arc<Identity>,
    session: Arc<LiveSession>,
    in_flight: Option<Box<FuturesUnordered<BoxFuture<'static, Answered>>>>,
    says_bye: bool,
}

impl Unheard {
    async fn carry_out(self) {
        let patience = self.edge.gateway.config().send_patience;
        let rest = async {
            if let Some(mut commands) = self.in_flight {
                while commands.next().await.is_some() {}
            }
            if self.says_bye {
                let _ = self.edge.gateway.carry_out(&self.identity, &self.session, Command::Bye).await;
            }
        };
        let _ = timeout(patience, rest).await;
    }
}

/// An attached WebSocket.
struct Connection {
    edge: Arc<Edge>,
    socket: Socket,
    identity: Arc<Identity>,
    reading: Reading,
    /// Commands that are under way; an idle connection has no room for them.
    in_flight: Option<Box<FuturesUnordered<BoxFuture<'static, Answered>>>>,
    bye: Bye,
    /// It is sent away, by this time at the latest: once what was said before has been answered.
    dismissed: Option<(Dismissal, Instant)>,
    heard: Instant,
    next_ping: Instant,
    /// Since when something has been waiting to be written.
    stalled: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(edge: Arc<Edge>, socket: Socket, identity: Identity, reading: Reading) -> Self {
        let now = Instant::now();
        // The first ping comes at any time within the interval: connections that came together are pinged apart.
        let next_ping = now + edge.config.ws_ping.mul_f64(fastrand::f64().max(0.1));
        let mut connection = Self {
            edge,
            socket,
            identity: Arc::new(identity),
            reading,
            in_flight: None,
            bye: Bye::Unsaid,
            dismissed: None,
            heard: now,
            next_ping,
            stalled: None,
            timer: Box::pin(sleep_until(next_ping)),
        };
        connection.feed_welcome();
        connection
    }

    /// Lets go of the session. What is under way goes on, if there is something.
    fn into_parts(self: Box<Self>) -> (Socket, Option<Unheard>) {
        let Self { edge, socket, identity, reading, in_flight, bye, .. } = *self;
        let says_bye = matches!(bye, Bye::Waiting(_));
        let unheard = (in_flight.is_some() || says_bye).then(|| Unheard {
            session: reading.session().clone(),
            edge,
            identity,
            in_flight,
            says_bye,
        });
        (socket, unheard)
    }

    /// Serves the connection to its end. `None`: there is nobody left to say anything to.
    ///
    /// Written out, since a `select!` in an async function keeps several times the room of what is waited for.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Farewell>> {
        loop {
            self.begin_bye();
            if let Some((dismissal, until)) = self.dismissed {
                // Whoever has said something, and be it `bye`, gets the answer that is there before the end.
                while let Some(answered) = self.poll_in_flight(cx) {
                    self.feed_answer(answered);
                }
                if self.in_flight.is_none() || Instant::now() >= until {
                    return Poll::Ready(Some(dismissal.into()));
                }
            }
            // A client that takes nothing is not asked for more.
            let has_room = self.socket.has_room();
            if self.dismissed.is_none()
                && has_room
                && let Poll::Ready(drained) = self.poll_outgoing(cx)
            {
                match drained {
                    Drained::Dismissed(dismissal) => {
                        self.dismissed =
                            Some((dismissal, Instant::now() + self.patience_at_the_end(dismissal)));
                        continue;
                    }
                    Drained::More => continue,
                    Drained::Empty => {}
                }
            }
            match self.poll_socket(cx, has_room) {
                Poll::Ready(Some(Ok(Event::Received(incoming)))) => {
                    self.receive(incoming);
                    continue;
                }
                Poll::Ready(Some(Ok(Event::Flushed))) if !has_room => continue,
                Poll::Ready(Some(Ok(Event::Flushed))) | Poll::Pending => {}
                Poll::Ready(Some(Err(SocketError::Violation(violation)))) => {
                    return Poll::Ready(Some(Farewell::silent(violation.close_code, violation.reason)));
                }
                Poll::Ready(Some(Err(SocketError::Io(_)))) => return Poll::Ready(None),
                Poll::Ready(None) => return Poll::Ready(Some(Farewell::silent(CLOSE_NORMAL, ""))),
            }
            if let Some(answered) = self.poll_in_flight(cx) {
                // What the command has brought about comes before its answer.
                while let Poll::Ready(Drained::More) = self.poll_outgoing(cx) {}
                self.feed_answer(answered);
                continue;
            }
            self.watch_writing();
            let deadline = self.deadline();
            if self.timer.deadline() != deadline {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            if let Some(farewell) = self.look_at_the_clock() {
                return Poll::Ready(Some(farewell));
            }
        }
    }

    /// Drives the socket; where there is enough to do already, it only writes.
    fn poll_socket(
        &mut self,
        cx: &mut Context<'_>,
        has_room: bool,
    ) -> Poll<Option<Result<Event, SocketError>>> {
        let busy = !has_room
            || self.in_flight.as_ref().is_some_and(|commands| commands.len() >= COMMANDS_IN_FLIGHT_MAX);
        if !busy && matches!(self.bye, Bye::Unsaid) && self.dismissed.is_none() {
            let now = self.edge.gateway.clock().tick();
            return self.socket.poll_event(cx, now);
        }
        if self.socket.pending_bytes() == 0 {
            return Poll::Pending;
        }
        self.socket.poll_flush(cx).map(|flushed| Some(flushed.map(|()| Event::Flushed).map_err(Into::into)))
    }

    fn poll_in_flight(&mut self, cx: &mut Context<'_>) -> Option<Answered> {
        let commands = self.in_flight.as_mut()?;
        let Poll::Ready(answered) = commands.poll_next_unpin(cx) else { return None };
        if commands.is_empty() {
            self.in_flight = None;
        }
        answered
    }

    fn feed_welcome(&mut self) {
        let session = self.reading.session();
        let welcome = Welcome {
            session: session.id().as_str(),
            user_id: session.user_id().as_str(),
            cursor: self.reading.cursor,
            subscribed: self.reading.subscribed.as_ref(),
            resume: self.reading.resume,
            token_expires_at: self.identity.expires_at,
            server_time: self.edge.gateway.clock().unix(),
        };
        let json = welcome_json(&welcome, &self.edge.terms);
        self.reading.subscribed = None;
        self.socket.feed_text(&[], json.into());
    }

    /// Takes what the session has and queues it. After `Empty` the task is woken when there is more.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Drained> {
        let mut outgoing = Vec::new();
        let drained = ready!(self.reading.poll_drain(cx, BUDGET, &mut outgoing));
        let mut prefix = Vec::with_capacity(PREFIX_MAX_BYTES);
        for item in outgoing {
            prefix.clear();
            match item {
                Outgoing::Event { cursor, event } => {
                    write_prefix(Some(&cursor), &mut prefix);
                    self.socket.feed_shared(&prefix, &event.body, &self.edge.deflate);
                }
                Outgoing::Ephemeral(event) => {
                    write_prefix(None, &mut prefix);
                    self.socket.feed_shared(&prefix, &event.body, &self.edge.deflate);
                }
                Outgoing::TokenExpiring(at) => self.socket.feed_text(&[], token_expiring_json(at).into()),
            }
        }
        Poll::Ready(drained)
    }

    fn receive(&mut self, incoming: Incoming) {
        self.heard = Instant::now();
        let Incoming::Text(text) = incoming else { return };
        let received = Occurrence::Received(text.len() as u64);
        self.edge.gateway.telemetry().record(received);
        let Parsed { reference, said } = parse_frame(text.as_bytes());
        let command = match said {
            Ok(Said::Command(Command::Bye)) => {
                self.bye = Bye::Waiting(reference);
                return;
            }
            Ok(Said::Command(command)) => command,
            Ok(Said::Hello(_)) => {
                let refusal = Refusal::new(ErrorCode::BadRequest, "the connection is attached already");
                return self.feed_answer(Answered { reference, result: Err(refusal) });
            }
            Err(refusal) => {
                let refusal = self.edge.gateway.refuse_malformed(self.reading.session(), refusal);
                return self.feed_answer(Answered { reference, result: Err(refusal) });
            }
        };
        self.carry_out(reference, command);
    }

    fn carry_out(&mut self, reference: Option<String>, command: Command) {
        let done = self.edge.gateway.carry_out(&self.identity, self.reading.session(), command);
        let answered = async move { Answered { reference, result: done.await } };
        self.in_flight.get_or_insert_default().push(answered.boxed());
    }

    /// A command without `ref` is answered only if it fails; a ping always.
    fn feed_answer(&mut self, answered: Answered) {
        let Answered { reference, result } = answered;
        let json = match &result {
            Ok(reply @ Reply::Pong { .. }) => reply_json(reply, reference.as_deref()),
            Ok(_) if reference.is_none() => Vec::new(),
            Ok(reply) => reply_json(reply, reference.as_deref()),
            Err(refusal) => error_json(refusal, reference.as_deref()),
        };
        if let Ok(Reply::Refreshed(identity)) = result {
            self.identity = Arc::new(identity);
        }
        if !json.is_empty() {
            self.socket.feed_text(&[], json.into());
        }
    }

    /// How long answers that are under way are waited for: where the session goes on, whoever has sent something learns
    /// what came of it. A `bye` ends the session before its own answer is there.
    fn patience_at_the_end(&self, dismissal: Dismissal) -> Duration {
        match dismissal {
            Dismissal::Draining { .. }
            | Dismissal::TokenExpired
            | Dismissal::RateLimited { .. }
            | Dismissal::Superseded
            | Dismissal::Bye => self.edge.gateway.config().send_patience,
            Dismissal::Kicked | Dismissal::Deleted | Dismissal::Expired => Duration::ZERO,
        }
    }

    fn begin_bye(&mut self) {
        if self.in_flight.is_none()
            && let Bye::Waiting(reference) = &mut self.bye
        {
            let reference = reference.take();
            self.bye = Bye::UnderWay;
            self.carry_out(reference, Command::Bye);
        }
    }

    fn deadline(&self) -> Instant {
        let silence = self.heard + self.edge.config.ws_ping + PONG_GRACE;
        let deadline = self.next_ping.min(silence);
        let deadline = self.dismissed.map_or(deadline, |(_, until)| deadline.min(until));
        self.stalled.map_or(deadline, |since| deadline.min(since + WRITE_STALL_MAX))
    }

    fn look_at_the_clock(&mut self) -> Option<Farewell> {
        let now = Instant::now();
        if self.stalled.is_some_and(|since| now >= since + WRITE_STALL_MAX) {
            let goaway = GoAway { reason: "slow_consumer", reconnect_after: Duration::ZERO, resumable: true };
            let last_words = Some(goaway_json(&goaway));
            return Some(Farewell { last_words, code: CLOSE_SLOW_CONSUMER, reason: "slow_consumer" });
        }
        if now >= self.heard + self.edge.config.ws_ping + PONG_GRACE {
            return Some(Farewell::silent(CLOSE_NO_PONG, "no pong"));
        }
        if now >= self.next_ping {
            self.next_ping = now + self.edge.config.ws_ping;
            self.socket.feed_ping(&[]);
        }
        None
    }

    fn watch_writing(&mut self) {
        if self.socket.pending_bytes() == 0 {
            self.stalled = None;
        } else if self.stalled.is_none() {
            self.stalled = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attached_connection_is_small() {
        assert!(size_of::<Connection>() <= 600, "{}", size_of::<Connection>());
    }
}
