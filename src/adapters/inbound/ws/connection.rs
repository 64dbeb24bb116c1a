//! An attached WebSocket, from the welcome to the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::farewell::{CLOSE_NORMAL, Farewell};
use super::in_flight::{Answered, InFlight, Unheard};
use super::open::Socket;
use crate::adapters::inbound::http::edge::Edge;
use crate::adapters::inbound::outgoing::with_outgoing;
use crate::adapters::inbound::websocket::reader::Incoming;
use crate::adapters::inbound::websocket::socket::{Event, SocketError};
use crate::adapters::inbound::wire::commands::{Parsed, Said, parse_frame};
use crate::adapters::inbound::wire::control::token_expiring_json;
use crate::adapters::inbound::wire::errors::{CLOSE_NO_PONG, error_json};
use crate::adapters::inbound::wire::events::{PREFIX_MAX_BYTES, write_prefix};
use crate::adapters::inbound::wire::replies::reply_json;
use crate::application::command::{Command, Reply};
use crate::application::ports::auth::Identity;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::usecase::reading::Reading;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::event::Event as DomainEvent;
use crate::session::cursor::Cursor;
use crate::session::reader::{Dismissal, DrainBudget, Drained, Outgoing};

/// Beyond the interval of pings, how long nothing at all may come back.
const PONG_GRACE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what waits for it.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// How much is taken from the session at once.
const BUDGET: DrainBudget = DrainBudget { events: 64, bytes: 64 * 1024 };

/// An attached WebSocket.
pub(super) struct Connection {
    edge: Arc<Edge>,
    socket: Socket,
    identity: Arc<Identity>,
    reading: Reading,
    in_flight: InFlight,
    /// It is sent away, by this time at the latest: once what was said before has been answered.
    dismissed: Option<Box<(Dismissal, Instant)>>,
    heard: Instant,
    next_ping: Instant,
    /// Since when something has been waiting to be written.
    stalled: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    pub(super) fn new(edge: Arc<Edge>, socket: Socket, identity: Identity, reading: Reading) -> Self {
        let now = Instant::now();
        // The first ping comes at any time within the interval: connections that came together are pinged apart.
        let next_ping = now + edge.config.ws_ping.mul_f64(fastrand::f64().max(0.1));
        let mut connection = Self {
            edge,
            socket,
            identity: Arc::new(identity),
            reading,
            in_flight: InFlight::new(),
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
    pub(super) fn into_parts(self: Box<Self>) -> (Socket, Option<Unheard>) {
        let Self { edge, socket, identity, reading, in_flight, .. } = *self;
        let unheard = in_flight.outlives().then(|| Unheard {
            session: reading.session().clone(),
            edge,
            identity,
            in_flight,
        });
        (socket, unheard)
    }

    /// Serves the connection to its end. `None`: there is nobody left to say anything to.
    ///
    /// Written out, since a `select!` in an async function keeps several times the room of what is waited for.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Farewell>> {
        loop {
            if let Some(reference) = self.in_flight.begin_bye() {
                self.carry_out(reference, Command::Bye);
            }
            if let Some((dismissal, until)) = self.dismissed.as_deref().copied() {
                // Whoever has said something, and be it `bye`, gets the answer that is there before the end.
                while let Some(answered) = self.in_flight.poll(cx) {
                    self.feed_answer(answered);
                }
                if self.in_flight.is_empty() || Instant::now() >= until {
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
                        let until = Instant::now() + self.patience_at_the_end(dismissal);
                        self.dismissed = Some(Box::new((dismissal, until)));
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
            if let Some(answered) = self.in_flight.poll(cx) {
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
        if has_room && self.in_flight.takes_more() && self.dismissed.is_none() {
            let now = self.edge.gateway.clock().tick();
            return self.socket.poll_event(cx, now);
        }
        if self.socket.pending_bytes() == 0 {
            return Poll::Pending;
        }
        self.socket.poll_flush(cx).map(|flushed| Some(flushed.map(|()| Event::Flushed).map_err(Into::into)))
    }

    fn feed_welcome(&mut self) {
        let json = self.edge.welcome(&self.reading, &self.identity);
        self.reading.subscribed = None;
        self.socket.feed_text(&[], json.into());
    }

    /// Takes what the session has and queues it. After `Empty` the task is woken when there is more.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Drained> {
        with_outgoing(|outgoing| {
            let drained = ready!(self.reading.poll_drain(cx, BUDGET, outgoing));
            for item in outgoing.drain(..) {
                match item {
                    Outgoing::Event { cursor, event } => self.feed_event(Some(&cursor), &event),
                    Outgoing::Ephemeral(event) => self.feed_event(None, &event),
                    Outgoing::TokenExpiring(at) => self.socket.feed_text(&[], token_expiring_json(at).into()),
                }
            }
            Poll::Ready(drained)
        })
    }

    fn feed_event(&mut self, cursor: Option<&Cursor>, event: &DomainEvent) {
        let mut room = [0; PREFIX_MAX_BYTES];
        let mut rest = &mut room[..];
        write_prefix(cursor.map(Cursor::text).as_ref(), &mut rest);
        let left = rest.len();
        self.socket.feed_shared(&room[..PREFIX_MAX_BYTES - left], &event.body, &self.edge.deflate);
    }

    fn receive(&mut self, incoming: Incoming) {
        self.heard = Instant::now();
        let Incoming::Text(text) = incoming else { return };
        let received = Occurrence::Received(text.len() as u64);
        self.edge.gateway.telemetry().record(received);
        let Parsed { reference, said } = parse_frame(text.as_bytes());
        let command = match said {
            Ok(Said::Command(Command::Bye)) => {
                return self.in_flight.say_bye(reference);
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
        self.in_flight.push(reference, done);
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

    fn deadline(&self) -> Instant {
        let silence = self.heard + self.edge.config.ws_ping + PONG_GRACE;
        let deadline = self.next_ping.min(silence);
        let deadline = self.dismissed.as_ref().map_or(deadline, |dismissed| deadline.min(dismissed.1));
        self.stalled.map_or(deadline, |since| deadline.min(since + WRITE_STALL_MAX))
    }

    fn look_at_the_clock(&mut self) -> Option<Farewell> {
        let now = Instant::now();
        if self.stalled.is_some_and(|since| now >= since + WRITE_STALL_MAX) {
            return Some(Farewell::slow_consumer());
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
        assert!(size_of::<Connection>() <= 304, "{}", size_of::<Connection>());
    }
}
