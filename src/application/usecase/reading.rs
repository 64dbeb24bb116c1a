//! Reading a session: what an attach grants, for as long as it is held.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::application::command::Subscribed;
use crate::application::gateway::Gateway;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::sessions::live::LiveSession;
use crate::domain::event::{Event, EventKind};
use crate::domain::time::UnixMillis;
use crate::session::cursor::Cursor;
use crate::session::reader::{Attached, DrainBudget, Drained, Outgoing, ReaderId, Resume, Transport};

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
    /// Holds what an attach has granted.
    pub(super) fn reading(
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
