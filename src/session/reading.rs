//! What goes out: attaching, draining, acknowledging, and the end of it.

use std::time::Duration;

use super::cursor::Cursor;
use super::delivered::{self, message_seq, position_after};
use super::machine::Session;
use super::outbox::Outbox;
use super::reader::{
    AttachRefused, AttachRequest, Attached, Attachment, Dismissal, DrainBudget, Drained, Outgoing, Reader,
    ReaderId, Resume, Transport,
};
use super::snapshot::Inherited;
use super::subscriptions::{CLOCKS_APART_MAX, CatchUpFrom, Flow};
use crate::domain::event::LogPosition;
use crate::domain::time::{Tick, UnixMillis};

/// How much further back than a cursor's watermark a rebuild reads: the clocks of the bus's shards differ.
pub const REBUILD_MARGIN: Duration = CLOCKS_APART_MAX;
/// How far ahead of the bus's clock a cursor's watermark may be before it counts as forged.
pub const WATERMARK_TOLERANCE: Duration = Duration::from_secs(60);
/// How long before its token expires a reader is told.
pub const TOKEN_NOTICE: Duration = Duration::from_secs(60);
/// Largest number a cursor can carry: what a JSON number holds exactly.
const NUMBER_MAX: u64 = 1 << 53;

/// What the passing of time has done to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimedOut {
    /// It counts as gone for others: nobody has read it for the presence grace.
    pub gone: bool,
    /// It is to be forgotten here: nobody has read it for the resume window. Its record stays.
    pub expired: bool,
}

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

    /// The reader has shown a newer token.
    pub fn set_token_expiry(&mut self, expires_at: UnixMillis) {
        self.token_expires_at = expires_at;
        self.token_notice_due = true;
        self.token_notice_waiting = false;
    }

    /// Sends the current reader away; the session stays.
    pub fn dismiss(&mut self, dismissal: Dismissal) {
        if let Attachment::Attached(current) = &mut self.attachment {
            current.dismissal.get_or_insert(dismissal);
        }
    }

    /// The node is going: the reader is sent away, and nobody reads here from now on. The session goes on elsewhere, from
    /// what it has handed out by now.
    pub fn send_away(&mut self, reconnect_after: Duration) {
        self.sent_away = true;
        self.dismiss(Dismissal::Draining { reconnect_after });
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

    /// Whether the session was sent away.
    #[must_use]
    pub fn is_sent_away(&self) -> bool {
        self.sent_away
    }

    /// Ends the session for good.
    pub fn end(&mut self, why: Dismissal) {
        self.ended.get_or_insert(why);
        self.ephemerals.clear();
    }

    /// The session goes on at another node: here it is over, and its reader is one of the past.
    pub fn supersede(&mut self) {
        // Also where it has just expired: what is said of it from now on is the other node's.
        self.ended = match self.ended {
            None | Some(Dismissal::Expired) => Some(Dismissal::Superseded),
            ended => ended,
        };
        self.ephemerals.clear();
    }

    /// Does what is due at this time.
    pub fn handle_timeout(&mut self, now: Tick, unix: UnixMillis) -> TimedOut {
        match &mut self.attachment {
            Attachment::Attached(current) => {
                if unix >= self.token_expires_at.plus(self.config.token_leeway) {
                    current.dismissal.get_or_insert(Dismissal::TokenExpired);
                } else if self.token_notice_due && unix >= self.token_expires_at.minus(TOKEN_NOTICE) {
                    self.token_notice_due = false;
                    self.token_notice_waiting = true;
                }
                TimedOut::default()
            }
            Attachment::Detached { since, .. } => {
                let idle = now.since(*since);
                let gone = self.here && idle >= self.config.presence_grace;
                let expired = idle >= self.config.resume_window;
                if gone || expired {
                    self.here = false;
                    self.ephemerals.clear();
                }
                TimedOut { gone, expired }
            }
        }
    }

    /// When [`Session::handle_timeout`] has something to do.
    #[must_use]
    pub fn next_deadline(&self, now: Tick, unix: UnixMillis) -> Tick {
        let at_unix = |at: UnixMillis| Tick(now.0.saturating_add(at.0.saturating_sub(unix.0)));
        match &self.attachment {
            // It has been told to go and will detach.
            Attachment::Attached(current) if current.dismissal.is_some() => {
                now.plus(self.config.resume_window)
            }
            Attachment::Attached(_) if self.token_notice_due => {
                at_unix(self.token_expires_at.minus(TOKEN_NOTICE))
            }
            Attachment::Attached(_) => at_unix(self.token_expires_at.plus(self.config.token_leeway)),
            Attachment::Detached { since, .. } if self.here => {
                since.plus(self.config.presence_grace.min(self.config.resume_window))
            }
            Attachment::Detached { since, .. } => since.plus(self.config.resume_window),
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

    /// Notes what a cursor that the record knows of covers. True if the delivered positions are those of the cursor.
    fn note_delivered_up_to(&mut self, cursor: Cursor, inherited: Inherited) -> bool {
        let Inherited { exact_from, sent } = inherited;
        if cursor.epoch != self.epoch {
            return false;
        }
        let known_up_to = sent.last().map_or(self.acknowledged.number, |last| last.number);
        for known in sent.into_vec().into_iter().take_while(|known| known.number <= cursor.number) {
            delivered::note(&mut self.subscriptions, &known.feed, known.position, known.message_seq);
        }
        (self.delivered_exactly && cursor.number <= self.acknowledged.number)
            || exact_from.is_some_and(|from| (from..=known_up_to).contains(&cursor.number))
    }

    /// Forgets the queue: everything after the cursor is read from the logs again, under a new generation.
    fn rebuild_from(&mut self, cursor: Cursor) {
        let asked = (cursor.epoch, cursor.number);
        // The client goes back behind what it has acknowledged: then what was delivered says nothing.
        let regressed = asked < self.delivered_as_of;
        let inherited = self.inherited.take().map_or_else(Inherited::default, |inherited| *inherited);
        let exact = !regressed && self.note_delivered_up_to(cursor, inherited);
        self.delivered_exactly = exact;
        // Also what the logs' times will say.
        self.delivered_as_of = asked;
        let goes_on = cursor.epoch == self.epoch;
        let recorded = goes_on && cursor.number <= self.recorded;
        self.epoch = self.epoch.wrapping_add(1).max(1);
        // What another node has numbered since the record was written, nobody knows.
        let numbered_known = !std::mem::take(&mut self.lost_queue) || recorded;
        self.unrecorded = true;
        self.full_at = None;
        self.outbox =
            Outbox::new(self.config.outbox, cursor.number, cursor.watermark).counted_by(&self.config.ledger);
        self.acknowledged = Cursor { epoch: self.epoch, ..cursor };
        self.ephemerals.clear();
        let at = cursor.watermark.minus(REBUILD_MARGIN);
        let round = self.next_round();
        self.subscriptions.update_all(|_, subscription| {
            subscription.round = round;
            subscription.in_step.take_if(|in_step| asked < (in_step.epoch, in_step.number));
            subscription.beginning.take_if(|told| !goes_on || cursor.number < told.first);
            if regressed {
                match &subscription.in_step {
                    Some(in_step) => subscription.delivered = in_step.position.clone(),
                    None => subscription.lose_place(),
                }
                subscription.delivered_message_seq = 0;
            }
            let numbered = subscription.numbered().filter(|_| numbered_known);
            let since = |position: &LogPosition| {
                let same_log = numbered.as_ref().filter(|numbered| numbered.epoch == position.epoch);
                CatchUpFrom::Since { at, numbered: same_log.map_or(u64::MAX, |numbered| numbered.offset) }
            };
            let (position, from) = match &subscription.in_step {
                _ if exact => (&subscription.delivered, CatchUpFrom::Position),
                Some(in_step) if is_later(&in_step.position, &subscription.delivered) => {
                    (&in_step.position, since(&in_step.position))
                }
                Some(_) => (&subscription.delivered, since(&subscription.delivered)),
                // The cursor's time does not speak of this feed.
                None => (&subscription.delivered, CatchUpFrom::Position),
            };
            subscription.position = position.clone();
            subscription.last_message_seq = subscription.delivered_message_seq;
            subscription.flow = Flow::behind(from, cursor.watermark);
        });
    }
}

/// Whether a place where the feed was in step is later than one that was delivered. In another epoch it is: a feed that
/// gets a new log is not in step until that has been told.
fn is_later(in_step: &LogPosition, delivered: &LogPosition) -> bool {
    in_step.epoch != delivered.epoch || in_step.offset > delivered.offset
}
