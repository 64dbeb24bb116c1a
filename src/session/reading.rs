//! What goes out: attaching, draining, acknowledging.

use std::time::Duration;

use super::cursor::Cursor;
use super::delivered::{self, message_seq, position_after};
use super::machine::Session;
use super::reader::{
    AttachRefused, AttachRequest, Attached, Attachment, Dismissal, DrainBudget, Drained, Outgoing, Reader,
    ReaderId, Resume, Transport,
};
use crate::domain::time::{Tick, UnixMillis};

/// How far ahead of the bus's clock a cursor's watermark may be before it counts as forged.
pub const WATERMARK_TOLERANCE: Duration = Duration::from_secs(60);
/// Largest number a cursor can carry: what a JSON number holds exactly.
const NUMBER_MAX: u64 = 1 << 53;

enum Start {
    Exact(u64),
    Rebuild(Cursor),
}

impl Session {
    /// Makes the asker the one reader. An older reader is superseded; what the cursor covers is acknowledged.
    ///
    /// # Errors
    /// [`AttachRefused`]; session and live reader are unharmed.
    pub fn attach(
        &mut self,
        request: &AttachRequest,
        now_bus: UnixMillis,
    ) -> Result<Attached, AttachRefused> {
        if self.ended.is_some() {
            return Err(AttachRefused::Ended);
        }
        if self.sent_away {
            return Err(AttachRefused::SentAway);
        }
        if let (Some(asked), Some(highest)) = (request.attach, self.highest_attach)
            && (asked < highest || (asked == highest && !request.counted))
        {
            return Err(AttachRefused::Stale);
        }
        let start = self.start_of(request.cursor, now_bus)?;

        self.highest_attach = request.attach.max(self.highest_attach);
        let (number, resume) = match start {
            Start::Exact(number) => {
                self.acknowledge_number(number);
                (number, Resume::Resumed)
            }
            Start::Rebuild(cursor) => {
                self.rebuild_from(cursor);
                (cursor.number, Resume::Rebuilt)
            }
        };
        self.outbox.begin_reading(number);
        self.readers_seen += 1;
        let reader = ReaderId(self.readers_seen);
        self.attachment = Attachment::Attached(Reader {
            id: reader,
            transport: request.transport,
            at: number,
            dismissal: None,
        });
        self.here = true;
        // Polls follow each other: one of them has told it already.
        if request.transport != Transport::Poll || request.token_expires_at != self.token_expires_at {
            self.set_token_expiry(request.token_expires_at);
        }
        Ok(Attached { reader, resume, cursor: self.cursor_at(number) })
    }

    /// Nobody reads any more, if this reader still did.
    pub fn detach(&mut self, reader: ReaderId, now: Tick) {
        if let Attachment::Attached(current) = &self.attachment
            && current.id == reader
        {
            let last = Some(current.transport);
            self.attachment = Attachment::Detached { since: now, last };
            self.outbox.end_reading();
            if last != Some(Transport::Poll) {
                self.ephemerals.clear();
            }
        }
    }

    /// Hands the reader what it does not have yet. Nothing leaves the queue: a reader that dies with it in its hands
    /// attaches again and gets the same. (Ephemeral events do leave.)
    pub fn drain(&mut self, reader: ReaderId, budget: DrainBudget, out: &mut Vec<Outgoing>) -> Drained {
        if let Some(ended) = self.ended {
            return Drained::Dismissed(self.sent_away_before(reader, ended).unwrap_or(ended));
        }
        let at = match &self.attachment {
            Attachment::Attached(current) if current.id == reader => match current.dismissal {
                Some(dismissal) => return Drained::Dismissed(dismissal),
                None => current.at,
            },
            _ => return Drained::Dismissed(Dismissal::Superseded),
        };
        if std::mem::take(&mut self.token_notice_waiting) {
            out.push(Outgoing::TokenExpiring(self.token_expires_at));
        }
        let (mut reached, mut events, mut bytes, mut more) = (at, 0, 0, false);
        for entry in self.outbox.after(at) {
            if let Some(event) = &entry.event {
                if events > 0 && (events >= budget.events || bytes + event.body.len() > budget.bytes) {
                    more = true;
                    break;
                }
                let cursor = Cursor { epoch: self.epoch, number: entry.number, watermark: entry.watermark };
                out.push(Outgoing::Event { cursor, event: event.clone() });
                events += 1;
                bytes += event.body.len();
            }
            reached = entry.number;
        }
        self.outbox.mark_sent(reached);
        if let Attachment::Attached(current) = &mut self.attachment {
            current.at = reached;
        }
        if more {
            return Drained::More;
        }
        while let Some(event) = self.ephemerals.pop() {
            out.push(Outgoing::Ephemeral(event));
        }
        Drained::Empty
    }

    /// Whether [`Session::drain`] has anything for this reader.
    #[must_use]
    pub fn is_readable(&self, reader: ReaderId) -> bool {
        match &self.attachment {
            Attachment::Attached(current) if current.id == reader => {
                self.ended.is_some()
                    || current.dismissal.is_some()
                    || self.token_notice_waiting
                    || !self.ephemerals.is_empty()
                    || self.outbox.last() > current.at
            }
            _ => true,
        }
    }

    /// Whether the current reader, if there is one, has something to fetch.
    #[must_use]
    pub fn has_output(&self) -> bool {
        match &self.attachment {
            Attachment::Attached(current) => self.is_readable(current.id),
            Attachment::Detached { .. } => true,
        }
    }

    /// The cursor of the last event that this reader was handed.
    #[must_use]
    pub fn reader_cursor(&self, reader: ReaderId) -> Option<Cursor> {
        match &self.attachment {
            Attachment::Attached(current) if current.id == reader => Some(self.cursor_at(current.at)),
            _ => None,
        }
    }

    /// Frees what the cursor covers. A cursor of an earlier generation frees nothing.
    ///
    /// # Errors
    /// [`AttachRefused::CursorInvalid`] for one that is not this session's, or ahead of what was sent.
    pub fn acknowledge(&mut self, cursor: Cursor) -> Result<(), AttachRefused> {
        if cursor.epoch < self.first_epoch || cursor.epoch > self.epoch {
            return Err(AttachRefused::CursorInvalid);
        }
        if cursor.epoch == self.epoch {
            if cursor.number > self.outbox.sent() {
                return Err(AttachRefused::CursorInvalid);
            }
            self.acknowledge_number(cursor.number);
        }
        Ok(())
    }

    /// Why this reader was sent away before the session was given up here: its client comes back, the record is there.
    fn sent_away_before(&self, reader: ReaderId, ended: Dismissal) -> Option<Dismissal> {
        match &self.attachment {
            Attachment::Attached(current) if current.id == reader && ended == Dismissal::Expired => {
                current.dismissal
            }
            _ => None,
        }
    }

    fn cursor_at(&self, number: u64) -> Cursor {
        Cursor { epoch: self.epoch, number, watermark: self.outbox.watermark_of(number) }
    }

    /// From where a reader with this cursor goes on.
    fn start_of(&self, cursor: Option<Cursor>, now_bus: UnixMillis) -> Result<Start, AttachRefused> {
        let Some(cursor) = cursor else {
            let held = !self.lost_queue && self.acknowledged.number >= self.outbox.floor();
            return Ok(if held {
                Start::Exact(self.acknowledged.number)
            } else {
                Start::Rebuild(self.acknowledged)
            });
        };
        let foreign = cursor.epoch < self.first_epoch || cursor.epoch > self.epoch;
        let forged = cursor.number > NUMBER_MAX || cursor.watermark.0 > now_bus.plus(WATERMARK_TOLERANCE).0;
        let ahead = cursor.epoch == self.epoch && !self.lost_queue && cursor.number > self.outbox.sent();
        if foreign || forged || ahead {
            return Err(AttachRefused::CursorInvalid);
        }
        let held = cursor.epoch == self.epoch && !self.lost_queue && cursor.number >= self.outbox.floor();
        Ok(if held { Start::Exact(cursor.number) } else { Start::Rebuild(cursor) })
    }

    fn acknowledge_number(&mut self, number: u64) {
        // Below the floor nothing is held that could be freed, or that could tell what was delivered when.
        let floor = self.outbox.floor();
        if number < floor || (number == floor && number <= self.acknowledged.number) {
            return;
        }
        let cursor = self.cursor_at(number);
        let subscriptions = &mut self.subscriptions;
        self.outbox.acknowledge(number, |event| {
            delivered::note(subscriptions, &event.feed, position_after(event), message_seq(event));
        });
        // A client may acknowledge what another of its connections was handed: this reader need not have it again.
        let freed = self.outbox.floor();
        if let Attachment::Attached(current) = &mut self.attachment {
            current.at = current.at.max(freed);
            self.outbox.skip_to(current.at);
        }
        // What was given up before it was acknowledged is in no feed's delivered position.
        self.delivered_exactly &= floor <= self.acknowledged.number;
        self.delivered_as_of = (self.epoch, number);
        if number >= self.acknowledged.number || self.acknowledged.epoch != self.epoch {
            self.acknowledged = cursor;
        }
    }
}
