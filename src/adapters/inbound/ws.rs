//! WebSocket: one task per connection reads, writes, and carries commands out side by side.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::HeaderMap;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

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
use crate::application::trace::RequestContext;
use crate::application::usecase::attach::{Reading, unverified};
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::time::Tick;
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
    tasks.spawn(async move {
        let Ok(upgraded) = accepted.upgrade.await else { return };
        let socket: Socket = WebSocket::from_upgraded(upgraded, edge.config.ws_frame_bytes);
        let query = query.map_err(|_| Refusal::new(ErrorCode::BadRequest, "the query can't be read"));
        serve(edge, socket, Asking { query: admitted.and(query), headers, client }).await;
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

async fn serve(edge: Arc<Edge>, mut socket: Socket, asking: Asking) {
    // All that is said here belongs to the trace of the request that opened it; each command has an id of its own.
    let request = request_context(&asking.headers).and_then(|request| request.trace);
    let request = request.map(|trace| RequestContext { trace: Some(trace), request_id: None });
    let admitted = admit(&edge, &mut socket, &asking).await;
    // It is not needed any more; a connection may live for days.
    drop(asking);
    let farewell = match admitted {
        Ok((identity, reading)) => {
            let connection = Connection::new(edge, socket, identity, reading);
            match request {
                Some(request) => Box::pin(request.scope(connection.run())).await,
                None => Box::pin(connection.run()).await,
            }
        }
        Err(farewell) => Some((socket, farewell)),
    };
    if let Some((mut socket, farewell)) = farewell {
        if let Some(last_words) = farewell.last_words {
            socket.feed_text(&[], last_words.into());
        }
        socket.close(farewell.code, farewell.reason, CLOSE_TIMEOUT).await;
    }
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

/// Drives the socket; where there is enough to do already, it only writes.
async fn read_or_write(socket: &mut Socket, reads: bool, now: Tick) -> Option<Result<Event, SocketError>> {
    if reads {
        return socket.event(now).await;
    }
    if socket.pending_bytes() == 0 {
        std::future::pending::<()>().await;
    }
    Some(socket.flush().await.map(|()| Event::Flushed).map_err(Into::into))
}

/// A command's answer on its way back.
struct Answered {
    reference: Option<String>,
    result: Result<Reply, Refusal>,
}

/// An attached WebSocket.
struct Connection {
    edge: Arc<Edge>,
    socket: Socket,
    identity: Arc<Identity>,
    reading: Reading,
    in_flight: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// A `bye` waits until what was said before it has been answered.
    bye: Option<Option<String>>,
    /// It is sent away, by this time at the latest: once what was said before has been answered.
    dismissed: Option<(Dismissal, Instant)>,
    heard: Instant,
    next_ping: Instant,
    /// Since when something has been waiting to be written.
    stalled: Option<Instant>,
}

impl Connection {
    fn new(edge: Arc<Edge>, socket: Socket, identity: Identity, reading: Reading) -> Self {
        let now = Instant::now();
        // The first ping comes at any time within the interval: connections that came together are pinged apart.
        let next_ping = now + edge.config.ws_ping.mul_f64(fastrand::f64().max(0.1));
        Self {
            edge,
            socket,
            identity: Arc::new(identity),
            reading,
            in_flight: FuturesUnordered::new(),
            bye: None,
            dismissed: None,
            heard: now,
            next_ping,
            stalled: None,
        }
    }

    /// Serves the connection to its end. `None`: there is nobody left to say anything to.
    async fn run(mut self) -> Option<(Socket, Farewell)> {
        self.feed_welcome();
        let mut timer = Box::pin(sleep_until(self.deadline()));
        let mut outgoing = Vec::new();
        loop {
            if self.bye.is_some() && self.in_flight.is_empty() {
                self.say_bye().await;
            }
            if let Some((dismissal, until)) = self.dismissed
                && (self.in_flight.is_empty() || Instant::now() >= until)
            {
                return Some((self.socket, dismissal.into()));
            }
            let deadline = self.deadline();
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            // A client that takes nothing is not asked for more.
            let busy = self.in_flight.len() >= COMMANDS_IN_FLIGHT_MAX || !self.socket.has_room();
            let reads = !busy && self.bye.is_none() && self.dismissed.is_none();
            let now = self.edge.gateway.clock().tick();
            tokio::select! {
                biased;
                drained = self.reading.drain(BUDGET, &mut outgoing),
                    if self.dismissed.is_none() && self.socket.has_room() =>
                {
                    self.feed(&mut outgoing);
                    if let Drained::Dismissed(dismissal) = drained {
                        self.dismissed = Some((dismissal, Instant::now() + self.patience_at_the_end(dismissal)));
                    }
                }
                event = read_or_write(&mut self.socket, reads, now) => {
                    match event {
                        Some(Ok(Event::Received(incoming))) => self.receive(incoming),
                        Some(Ok(Event::Flushed)) => {}
                        Some(Err(SocketError::Violation(violation))) => {
                            let farewell = Farewell::silent(violation.close_code, violation.reason);
                            return Some((self.socket, farewell));
                        }
                        Some(Err(SocketError::Io(_))) => return None,
                        None => return Some((self.socket, Farewell::silent(CLOSE_NORMAL, ""))),
                    }
                }
                Some(answered) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    // What the command has brought about comes before its answer.
                    self.feed_what_is_there(&mut outgoing);
                    self.feed_answer(answered);
                }
                () = timer.as_mut() => {
                    if let Some(farewell) = self.look_at_the_clock() {
                        return Some((self.socket, farewell));
                    }
                }
            }
            self.watch_writing();
        }
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

    fn feed(&mut self, outgoing: &mut Vec<Outgoing>) {
        let mut prefix = Vec::with_capacity(PREFIX_MAX_BYTES);
        for item in outgoing.drain(..) {
            prefix.clear();
            match item {
                Outgoing::Event { cursor, event } => {
                    write_prefix(Some(&cursor), &mut prefix);
                    self.socket.feed_text(&prefix, event.body.clone());
                }
                Outgoing::Ephemeral(event) => {
                    write_prefix(None, &mut prefix);
                    self.socket.feed_text(&prefix, event.body.clone());
                }
                Outgoing::TokenExpiring(at) => self.socket.feed_text(&[], token_expiring_json(at).into()),
            }
        }
        // An idle connection holds nothing.
        *outgoing = Vec::new();
    }

    fn feed_what_is_there(&mut self, outgoing: &mut Vec<Outgoing>) {
        while let Some(drained) = self.reading.drain(BUDGET, outgoing).now_or_never() {
            self.feed(outgoing);
            if drained != Drained::More {
                return;
            }
        }
    }

    fn receive(&mut self, incoming: Incoming) {
        self.heard = Instant::now();
        let Incoming::Text(text) = incoming else { return };
        let received = Occurrence::Received(text.len() as u64);
        self.edge.gateway.telemetry().record(received);
        let Parsed { reference, said } = parse_frame(text.as_bytes());
        let command = match said {
            Ok(Said::Command(Command::Bye)) => {
                self.bye = Some(reference);
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
        let done = self.edge.gateway.carry_out(&self.identity, self.reading.session(), command);
        self.in_flight.push(async move { Answered { reference, result: done.await } }.boxed());
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
    /// what came of it.
    fn patience_at_the_end(&self, dismissal: Dismissal) -> Duration {
        match dismissal {
            Dismissal::Draining { .. }
            | Dismissal::TokenExpired
            | Dismissal::RateLimited { .. }
            | Dismissal::Superseded => self.edge.gateway.config().send_patience,
            Dismissal::Kicked | Dismissal::Deleted | Dismissal::Bye | Dismissal::Expired => Duration::ZERO,
        }
    }

    async fn say_bye(&mut self) {
        let Some(reference) = self.bye.take() else { return };
        let done = self.edge.gateway.carry_out(&self.identity, self.reading.session(), Command::Bye);
        let result = done.await;
        self.feed_answer(Answered { reference, result });
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
