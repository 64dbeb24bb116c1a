//! Bringing a subscription in step with its log: after `since`, after a spill, after a rebuild. All the same thing.

use std::sync::Arc;

use super::feed::one::Feed;
use super::gateway::Gateway;
use super::ports::bus::{BusError, LogSlice, ReadFrom};
use super::ports::store::{HISTORY_PAGE_MAX, HistoryRange, StoreError};
use super::ports::telemetry::occurrence::Occurrence;
use super::sessions::live::{Chore, LiveSession};
use crate::domain::event::{Event, EventKind, LogPosition};
use crate::domain::ids::{DialogId, FeedKey};
use crate::session::catch_up::CatchUp;
use crate::session::machine::Session;
use crate::session::piece::{CaughtUp, Progress};
use crate::session::replay::{self, Gap, GapReason, LogExtent, Replay};
use crate::session::subscriptions::CatchUpFrom;

/// Most events read from a log at once.
pub const PIECE_EVENTS_MAX: usize = 256;
/// How often a log may change under a reader before the reader gives up for now.
const READ_ATTEMPTS_MAX: usize = 8;

/// How a catch-up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// In step, or waiting for the reader to make room.
    pub live: bool,
    /// How many events lay between the position and the head, a gap aside.
    pub replayed: u64,
}

/// What a session reads next of a log.
enum Read {
    Piece {
        piece: CaughtUp,
        gap: Option<Gap>,
        head_offset: u64,
    },
    /// The log has lost its end: here it ends, before the session's place.
    Rewound(LogPosition),
    /// The user belongs to the dialog no more.
    NotMember(DialogId),
}

/// Why a subscription is not in step yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotCaughtUp {
    /// The log can't be read.
    Bus(BusError),
    /// Something is missing, and the Store does not say whether the user belongs to the dialog still.
    Store(StoreError),
}

impl From<BusError> for NotCaughtUp {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}

impl Gateway {
    /// Reads what one subscription lacks, until it is in step or the session's queue is full.
    ///
    /// # Errors
    /// [`NotCaughtUp`]; the subscription stays behind, and nothing is lost.
    pub(super) async fn catch_up(
        &self,
        session: &Arc<LiveSession>,
        feed: &FeedKey,
    ) -> Result<Report, NotCaughtUp> {
        let mut replayed = None;
        let mut begun_anew = false;
        let generation = session.peek(Session::epoch);
        loop {
            if session.peek(Session::epoch) != generation {
                // Rebuilt meanwhile: what it lacks now is told in its own order.
                return Ok(Report { live: false, replayed: replayed.unwrap_or(0) });
            }
            let Some(asked) = session.peek(|machine| machine.catch_up(feed)) else {
                return Ok(Report { live: true, replayed: replayed.unwrap_or(0) });
            };
            if session.peek(|machine| machine.ended().is_some()) {
                return Ok(Report { live: false, replayed: replayed.unwrap_or(0) });
            }
            let Some(membership) = session.membership(feed) else {
                // Whoever subscribed went away before it had joined the feed.
                self.join_feed(session, feed).await?;
                continue;
            };
            let (piece, gap, head_offset) = match self.read_piece(session, &membership.feed, asked).await? {
                Read::Piece { piece, gap, head_offset } => (piece, gap, head_offset),
                Read::Rewound(head) => {
                    // As when the feed finds it: forgotten, also in the record, before the log grows past it.
                    session.restart(feed, &head);
                    continue;
                }
                Read::NotMember(dialog) => {
                    session.with(|machine| machine.unsubscribe(&dialog));
                    session.add_chore(Chore::Leave(dialog));
                    continue;
                }
            };
            let ahead = head_offset.saturating_sub(piece.start.offset);
            let settled = self.ports.bus.settled();
            let (applied, _) = session.with(|machine| machine.apply(piece, settled));
            for dialog in applied.left {
                session.add_chore(Chore::Leave(dialog));
            }
            if session.peek(|machine| machine.follow_all().is_some()) {
                for (dialog, at) in applied.joined {
                    session.add_chore(Chore::Follow(dialog, at));
                }
            }
            if applied.progress != Progress::Outdated {
                replayed.get_or_insert(ahead);
            }
            if let Some(gap) = gap.filter(|_| applied.gap_told) {
                self.ports.telemetry.record(Occurrence::GapTold(gap.reason));
                begun_anew |= gap.reason == GapReason::LogReset;
                if feed.dialog().is_none() {
                    session.add_chore(Chore::Recheck);
                }
            }
            match applied.progress {
                Progress::Live => {
                    if begun_anew {
                        // From now on the record need not say that it has no place in the log.
                        session.add_chore(Chore::Keep);
                    }
                    return Ok(Report { live: true, replayed: replayed.unwrap_or(0) });
                }
                Progress::Full => return Ok(Report { live: false, replayed: replayed.unwrap_or(0) }),
                Progress::More | Progress::Outdated => {}
            }
        }
    }

    async fn read_piece(
        &self,
        session: &Arc<LiveSession>,
        feed: &Arc<Feed>,
        asked: CatchUp,
    ) -> Result<Read, NotCaughtUp> {
        if asked.from == CatchUpFrom::Position
            && let Some((mut events, head)) = feed.recent_after(&asked.position)
        {
            let complete = events.len() <= PIECE_EVENTS_MAX;
            let head_offset = head.offset;
            events.truncate(PIECE_EVENTS_MAX);
            let reached = if complete { head } else { position_of(events.last(), &asked.position) };
            let start = asked.position.clone();
            let piece = CaughtUp { start, gap: Vec::new(), events, reached, complete, asked };
            return Ok(Read::Piece { piece, gap: None, head_offset });
        }
        let (slice, replay) = self.read_log(feed, &asked).await?;
        if asked.position.epoch == slice.head.epoch && asked.position.offset > slice.head.offset {
            return Ok(Read::Rewound(slice.head));
        }
        let start = LogPosition { epoch: slice.head.epoch.clone(), offset: replay.after_offset };
        let reached_offset = slice.entries.last().map_or(replay.after_offset, |entry| entry.offset);
        let complete = reached_offset >= slice.head.offset;
        let reached = LogPosition { epoch: slice.head.epoch.clone(), offset: reached_offset };
        let events: Vec<Arc<Event>> = slice.entries.iter().filter_map(|entry| feed.decode(entry)).collect();
        if let (Some(gap), Some(dialog)) = (&replay.gap, asked.feed.dialog())
            && !self.belongs_behind(session, dialog, gap, &start).await.map_err(NotCaughtUp::Store)?
        {
            return Ok(Read::NotMember(dialog.clone()));
        }
        let gap = match &replay.gap {
            Some(gap) => self.tell_gap(session, &asked, gap, &start, &events).await,
            None => Vec::new(),
        };
        let piece = CaughtUp { asked, start, gap, events, reached, complete };
        Ok(Read::Piece { piece, gap: replay.gap, head_offset: slice.head.offset })
    }

    /// Reads the log from where the subscription goes on; reads again if the log changed in between.
    async fn read_log(&self, feed: &Arc<Feed>, asked: &CatchUp) -> Result<(LogSlice, Replay), BusError> {
        let first = match asked.from {
            CatchUpFrom::Position => ReadFrom::AfterOffset(asked.position.offset),
            CatchUpFrom::Since { at, .. } => ReadFrom::Since(at),
        };
        let stood = feed.position();
        let mut slice = feed.read(first, PIECE_EVENTS_MAX).await?;
        // Else it would go on telling of the older log to others, and to this session if that asks anew.
        feed.learn(stood.as_ref(), &slice.head);
        let since = slice.entries.first().map(|entry| entry.offset);
        for _ in 0..READ_ATTEMPTS_MAX {
            let first_since = since.unwrap_or(slice.head.offset + 1);
            let extent = LogExtent { head: &slice.head, first_offset: slice.first_offset, first_since };
            let replay = replay::plan(&asked.position, asked.from, extent);
            slice.entries.retain(|entry| entry.offset > replay.after_offset);
            let begins = slice.entries.first().map_or(slice.head.offset, |entry| entry.offset - 1);
            if begins == replay.after_offset {
                return Ok((slice, replay));
            }
            slice = feed.read(ReadFrom::AfterOffset(replay.after_offset), PIECE_EVENTS_MAX).await?;
        }
        Err(BusError::Unavailable)
    }

    /// Whether the user still belongs to a dialog behind a gap, in which a removal may have been. The user's own feed tells
    /// of that, too, but perhaps later.
    async fn belongs_behind(
        &self,
        session: &Arc<LiveSession>,
        dialog: &DialogId,
        gap: &Gap,
        start: &LogPosition,
    ) -> Result<bool, StoreError> {
        let feed = FeedKey::Dialog(dialog.clone());
        let confirmed_since = session.peek(|machine| {
            let subscription = machine.subscriptions().find(&feed);
            subscription.is_some_and(|known| known.confirmed.reaches(start))
        });
        if confirmed_since && gap.reason != GapReason::LogReset {
            return Ok(true);
        }
        let call = Self::call_for(session.user_id(), Some(session));
        let mut answers = self.memberships.ask(&call, std::slice::from_ref(dialog)).await;
        answers.pop().unwrap_or(Err(StoreError::Internal)).map(|checked| checked.membership.readable())
    }

    /// The `gap` event, and the messages that make up for it if the Store has them.
    async fn tell_gap(
        &self,
        session: &Arc<LiveSession>,
        asked: &CatchUp,
        gap: &Gap,
        start: &LogPosition,
        events: &[Arc<Event>],
    ) -> Vec<Arc<Event>> {
        let restored = self.restore(session, asked, start, events).await;
        let body = self.ports.codec.gap(&asked.feed, &start.epoch, gap, restored.is_some());
        let alone = restored.as_ref().is_none_or(Vec::is_empty);
        let after = alone.then(|| start.clone());
        let kind = EventKind::Gap { before: asked.position.clone(), after };
        let told = Event { feed: asked.feed.clone(), logged: None, kind, body };
        std::iter::once(Arc::new(told)).chain(restored.into_iter().flatten()).collect()
    }

    /// The messages after the last one the session has and before the first that follows: all of them or none.
    async fn restore(
        &self,
        session: &Arc<LiveSession>,
        asked: &CatchUp,
        start: &LogPosition,
        events: &[Arc<Event>],
    ) -> Option<Vec<Arc<Event>>> {
        let dialog = asked.feed.dialog()?;
        if asked.last_message_seq == 0 {
            return None;
        }
        let next = events.iter().find_map(|event| match event.kind {
            EventKind::Message { seq, .. } => Some(seq),
            _ => None,
        });
        let call = Self::call_for(session.user_id(), Some(session));
        let range = HistoryRange::After(asked.last_message_seq);
        let page = self.ports.store.history(&call, dialog, range, HISTORY_PAGE_MAX).await.ok()?;
        let reaches = match (next, page.messages.last()) {
            (Some(next), Some(last)) => last.seq + 1 >= next,
            (Some(next), None) => next == asked.last_message_seq + 1,
            (None, _) => !page.has_more,
        };
        if !reaches {
            return None;
        }
        let missing: Vec<_> =
            page.messages.iter().filter(|message| next.is_none_or(|next| message.seq < next)).collect();
        let last = missing.last().map(|message| message.seq);
        let restored = missing.into_iter().map(|message| {
            Arc::new(Event {
                feed: asked.feed.clone(),
                logged: None,
                kind: EventKind::Restored {
                    after: (last == Some(message.seq)).then(|| start.clone()),
                    seq: message.seq,
                },
                body: self.pressure.ledger().count(self.ports.codec.restored(message)),
            })
        });
        Some(restored.collect())
    }
}

fn position_of(event: Option<&Arc<Event>>, otherwise: &LogPosition) -> LogPosition {
    match event.and_then(|event| event.logged.as_ref()) {
        Some(logged) => LogPosition { epoch: logged.epoch.clone(), offset: logged.offset },
        None => otherwise.clone(),
    }
}
