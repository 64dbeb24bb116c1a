//! The model of the node that runs one session: its feeds, which may lag, lose and repair, and its catch-ups.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use edgeway::domain::event::{Event, EventKind, LogPosition, MembershipChange};
use edgeway::domain::ids::{DialogId, FeedKey};
use edgeway::domain::time::UnixMillis;
use edgeway::session::catch_up::CatchUp;
use edgeway::session::intake::Intake;
use edgeway::session::machine::Session;
use edgeway::session::piece::{CaughtUp, Progress};
use edgeway::session::reader::ReaderId;
use edgeway::session::replay::{self, LogExtent};
use edgeway::session::subscriptions::CatchUpFrom;

use super::bus::{Entry, Log};
use super::client::id_of;
use crate::rng::Rng;

pub(crate) type Logs = BTreeMap<FeedKey, Log>;

/// How a feed of this node stands.
pub(crate) struct View {
    pub(crate) position: LogPosition,
    pub(crate) inbox: VecDeque<Entry>,
    pub(crate) interrupted: bool,
}

pub(crate) struct Node {
    pub(crate) machine: Session,
    pub(crate) views: BTreeMap<FeedKey, View>,
    pub(crate) pending: Vec<CaughtUp>,
    pub(crate) reader: Option<ReaderId>,
    /// Dialogs that this node has been told the user was removed from.
    pub(crate) revoked: BTreeSet<DialogId>,
    /// Chores that came up.
    pub(crate) joined: Vec<DialogId>,
    pub(crate) left: bool,
    pub(crate) recheck: bool,
    /// Feeds whose logs lost entries while this node looked.
    pub(crate) rewound: BTreeSet<FeedKey>,
    /// When each dialog was followed: what was appended before is history.
    pub(crate) followed: BTreeMap<DialogId, u64>,
    /// The cursor's time of the last rebuild: what is older was delivered.
    pub(crate) base: UnixMillis,
    checked: u64,
    /// The largest group that may be queued beyond the bounds.
    pub(crate) group: (usize, usize),
}

impl Node {
    pub(crate) fn new(machine: Session, base: UnixMillis) -> Self {
        Self {
            machine,
            views: BTreeMap::new(),
            pending: Vec::new(),
            reader: None,
            revoked: BTreeSet::new(),
            joined: Vec::new(),
            left: false,
            recheck: false,
            rewound: BTreeSet::new(),
            followed: BTreeMap::new(),
            base,
            checked: 0,
            group: (0, 0),
        }
    }

    pub(crate) fn join(&mut self, log: &Log) {
        self.views.entry(log.key.clone()).or_insert_with(|| View {
            position: log.head.clone(),
            inbox: VecDeque::new(),
            interrupted: false,
        });
    }

    pub(crate) fn settled(&self, logs: &Logs, now: UnixMillis) -> UnixMillis {
        self.views.iter().map(|(feed, view)| logs[feed].settled_at(&view.position, now)).min().unwrap_or(now)
    }

    /// Works off the next payload of one feed, as a feed does.
    pub(crate) fn deliver_one(&mut self, feed: &FeedKey, logs: &Logs, now: UnixMillis, rng: &mut Rng) {
        let Some(view) = self.views.get_mut(feed) else { return };
        if view.interrupted {
            return self.repair(feed, logs, now, rng);
        }
        let Some(entry) = view.inbox.pop_front() else { return };
        if entry.epoch != view.position.epoch || entry.offset > view.position.offset + 1 {
            self.repair(feed, logs, now, rng);
        } else if entry.offset == view.position.offset + 1 {
            self.advance(feed, &entry, logs, now);
        }
    }

    /// The audit's question.
    pub(crate) fn audit(&mut self, feed: &FeedKey, logs: &Logs, now: UnixMillis, rng: &mut Rng) {
        let Some(view) = self.views.get(feed) else { return };
        if view.interrupted || view.position != logs[feed].head {
            self.repair(feed, logs, now, rng);
        }
    }

    fn repair(&mut self, feed: &FeedKey, logs: &Logs, now: UnixMillis, rng: &mut Rng) {
        let Some(view) = self.views.get_mut(feed) else { return };
        let log = &logs[feed];
        if rng.percent(20) {
            // The bus does not answer: it will be tried again.
            view.interrupted = true;
            self.machine.distrust(feed);
            return;
        }
        view.interrupted = false;
        let follows = log.head.epoch == view.position.epoch
            && log.head.offset >= view.position.offset
            && log.first_offset() <= view.position.offset + 1;
        if !follows {
            view.position = log.head.clone();
            self.machine.restart(feed, &log.head);
            return;
        }
        let after = view.position.offset;
        for entry in log.after(after) {
            self.advance(feed, entry, logs, now);
        }
    }

    fn advance(&mut self, feed: &FeedKey, entry: &Entry, logs: &Logs, now: UnixMillis) {
        if let Some(view) = self.views.get_mut(feed) {
            view.position.offset = entry.offset;
        }
        let Some(event) = &entry.event else {
            self.machine.pass_over(feed, &entry.epoch, entry.offset);
            return;
        };
        self.note_removal(event);
        let settled = self.settled(logs, now);
        match self.machine.push(event, settled) {
            Intake::Revoked(_) => self.left = true,
            Intake::Joined(dialog, _) => self.joined.push(dialog),
            _ => {}
        }
    }

    fn note_removal(&mut self, event: &Event) {
        if let EventKind::Membership { dialog, user, change: MembershipChange::Removed } = &event.kind
            && user == self.machine.user_id()
            && self.followed.get(dialog).is_none_or(|followed| id_of(event) > *followed)
        {
            self.revoked.insert(dialog.clone());
        }
    }

    /// Applies what was read; true if the session's queue is full.
    pub(crate) fn apply(&mut self, piece: CaughtUp, logs: &Logs, now: UnixMillis) -> Progress {
        if !piece.gap.is_empty() {
            let bytes = piece.gap.iter().map(|event| event.body.len()).sum();
            self.group = (self.group.0.max(piece.gap.len()), self.group.1.max(bytes));
        }
        let events = piece.events.clone();
        let feed = piece.asked.feed.clone();
        let settled = self.settled(logs, now);
        let applied = self.machine.apply(piece, settled);
        self.recheck |= applied.gap_told && feed.dialog().is_none();
        self.left |= !applied.left.is_empty();
        self.joined.extend(applied.joined.into_iter().map(|(dialog, _)| dialog));
        self.revoked.extend(applied.left);
        // What lies behind the position now was taken.
        let position = self.machine.subscriptions().find(&feed).map(|taken| taken.position.clone());
        for event in events {
            let taken = event.logged.as_ref().zip(position.as_ref()).is_some_and(|(logged, position)| {
                logged.epoch == position.epoch && logged.offset <= position.offset
            });
            if taken && applied.progress != Progress::Outdated {
                self.note_removal(&event);
            }
        }
        applied.progress
    }

    /// What the invariants say of the queue at any time.
    pub(crate) fn check(
        &mut self,
        logs: &Logs,
        limits: (usize, usize),
        tolerance: u64,
    ) -> Result<(), String> {
        let outbox = self.machine.outbox();
        if outbox.len() > limits.0 + self.group.0 {
            return Err(format!("{} events queued, {limits:?} allowed", outbox.len()));
        }
        let one_large = outbox.len() == 1;
        if outbox.bytes() > limits.1 + self.group.1 && !one_large {
            return Err(format!("{} bytes queued, {limits:?} allowed", outbox.bytes()));
        }
        self.checked = self.checked.min(outbox.last());
        for entry in outbox.after(self.checked) {
            if let Some((feed, at)) = self.missing_before(entry.watermark.0.saturating_sub(tolerance), logs) {
                return Err(format!(
                    "number {} says {:?}, but {feed} lacks an event of {at:?}",
                    entry.number, entry.watermark
                ));
            }
        }
        self.checked = outbox.last();
        Ok(())
    }

    /// A followed feed that has an event older than this time and not numbered.
    fn missing_before(&self, watermark: u64, logs: &Logs) -> Option<(FeedKey, UnixMillis)> {
        for (feed, subscription) in self.machine.subscriptions().iter() {
            let log = &logs[feed];
            // Of a feed that was not in step yet, no cursor says anything.
            if log.rewound || subscription.in_step.is_none() {
                continue;
            }
            let after =
                if subscription.position.epoch == log.head.epoch { subscription.position.offset } else { 0 };
            let missing = (after..log.head.offset)
                .filter_map(|offset| log.first_time_after(offset))
                .find(|at| at.0 < watermark && *at > self.base);
            if let Some(at) = missing {
                return Some((feed.clone(), at));
            }
        }
        None
    }
}

/// Reads what a catch-up asks for: the reading of `application/catch_up.rs` over a log that holds still.
pub(crate) fn read_piece(asked: CatchUp, log: &Log, limit: usize, restores: bool, id: u64) -> CaughtUp {
    let first_since = match asked.from {
        CatchUpFrom::Position => log.head.offset + 1,
        CatchUpFrom::Since { at, .. } => {
            log.entries.iter().find(|entry| entry.at >= at).map_or(log.head.offset + 1, |entry| entry.offset)
        }
    };
    let extent = LogExtent { head: &log.head, first_offset: log.first_offset(), first_since };
    let plan = replay::plan(&asked.position, asked.from, extent);
    let start = LogPosition { epoch: log.head.epoch.clone(), offset: plan.after_offset };
    let entries: Vec<&Entry> = log.after(plan.after_offset).take(limit).collect();
    let reached_offset = entries.last().map_or(plan.after_offset, |entry| entry.offset);
    let reached = LogPosition { epoch: log.head.epoch.clone(), offset: reached_offset };
    let events: Vec<Arc<Event>> = entries.iter().filter_map(|entry| entry.event.clone()).collect();
    let mut gap = Vec::new();
    if let Some(told) = plan.gap {
        let restored = if restores { restored(&asked, &start, log, &events, id) } else { None };
        let alone = restored.as_ref().is_none_or(Vec::is_empty);
        let (reason, from) = (told.reason.as_str(), told.from_offset);
        let body =
            format!("{id};gap;{reason};{from};{};{};{}", restored.is_some(), start.epoch, start.offset);
        let after = alone.then(|| start.clone());
        let kind = EventKind::Gap { before: asked.position.clone(), after };
        gap.push(Arc::new(Event { feed: asked.feed.clone(), logged: None, kind, body: Bytes::from(body) }));
        gap.extend(restored.into_iter().flatten());
    }
    CaughtUp { asked, start, gap, events, reached, complete: reached_offset >= log.head.offset }
}

const RESTORED_MAX: u64 = 12;

fn restored(
    asked: &CatchUp,
    start: &LogPosition,
    log: &Log,
    events: &[Arc<Event>],
    id: u64,
) -> Option<Vec<Arc<Event>>> {
    asked.feed.dialog()?;
    if asked.last_message_seq == 0 {
        return None;
    }
    let next = events.iter().find_map(|event| match event.kind {
        EventKind::Message { seq, .. } => Some(seq),
        _ => None,
    });
    let end = next.unwrap_or(log.seq + 1);
    if end.saturating_sub(asked.last_message_seq + 1) > RESTORED_MAX {
        return None;
    }
    let missing = asked.last_message_seq + 1..end;
    let told = missing.map(|seq| {
        let after = (seq + 1 == end).then(|| start.clone());
        let kind = EventKind::Restored { after, seq };
        let body = Bytes::from(format!("{id};restored;{seq}"));
        Arc::new(Event { feed: asked.feed.clone(), logged: None, kind, body })
    });
    Some(told.collect())
}
