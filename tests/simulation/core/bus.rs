//! The model of the bus: logs that are appended to, trimmed, begun anew and rewound.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use edgeway::domain::event::{Event, EventKind, LogEpoch, LogPosition, Logged};
use edgeway::domain::ids::{FeedKey, UserId};
use edgeway::domain::time::UnixMillis;

/// An entry; without an event if nobody can read it.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) epoch: LogEpoch,
    pub(crate) offset: u64,
    pub(crate) at: UnixMillis,
    pub(crate) event: Option<Arc<Event>>,
}

pub(crate) struct Log {
    pub(crate) key: FeedKey,
    pub(crate) head: LogPosition,
    pub(crate) entries: VecDeque<Entry>,
    /// The newest `seq` that the Store has given.
    pub(crate) seq: u64,
    /// When the log was last begun anew or rewound.
    pub(crate) changed_at: UnixMillis,
    /// Whether it ever lost a tail within its epoch.
    pub(crate) rewound: bool,
    /// Offsets at which something unreadable ever stood.
    unreadable: BTreeSet<(LogEpoch, u64)>,
    /// Offsets at which something ever stood that one user is told from elsewhere.
    silent: BTreeSet<(LogEpoch, u64, UserId)>,
    generation: u32,
    /// How far this log's clock is off, in milliseconds.
    pub(crate) skew: i64,
    /// When each offset of this epoch was appended, also of those that are trimmed.
    times: Vec<UnixMillis>,
    newest_at: UnixMillis,
}

impl Log {
    pub(crate) fn new(key: FeedKey, skew: i64) -> Self {
        let head = LogPosition { epoch: "e1".into(), offset: 0 };
        Self {
            key,
            head,
            entries: VecDeque::new(),
            seq: 0,
            changed_at: UnixMillis(0),
            rewound: false,
            unreadable: BTreeSet::new(),
            silent: BTreeSet::new(),
            generation: 1,
            skew,
            times: Vec::new(),
            newest_at: UnixMillis(0),
        }
    }

    fn stamp(&mut self, now: UnixMillis) -> UnixMillis {
        self.newest_at = self.newest_at.max(UnixMillis(now.0.saturating_add_signed(self.skew)));
        self.newest_at
    }

    pub(crate) fn append(&mut self, kind: Option<EventKind>, body: Bytes, now: UnixMillis) -> Entry {
        let at = self.stamp(now);
        self.head.offset += 1;
        self.times.push(at);
        let (epoch, offset) = (self.head.epoch.clone(), self.head.offset);
        if kind.is_none() {
            self.unreadable.insert((epoch.clone(), offset));
        }
        if let (Some(EventKind::Membership { user, .. }), FeedKey::Dialog(_)) = (&kind, &self.key) {
            self.silent.insert((epoch.clone(), offset, user.clone()));
        }
        let event = kind.map(|kind| {
            let logged = Some(Logged { epoch: epoch.clone(), offset, at });
            Arc::new(Event { feed: self.key.clone(), logged, kind, body })
        });
        let entry = Entry { epoch, offset, at, event };
        self.entries.push_back(entry.clone());
        entry
    }

    /// The oldest offset that is held.
    pub(crate) fn first_offset(&self) -> u64 {
        self.entries.front().map_or(self.head.offset + 1, |entry| entry.offset)
    }

    pub(crate) fn after(&self, offset: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.offset > offset)
    }

    pub(crate) fn trim_to(&mut self, len: usize) {
        while self.entries.len() > len {
            self.entries.pop_front();
        }
    }

    pub(crate) fn reset(&mut self, now: UnixMillis) {
        self.generation += 1;
        self.head = LogPosition { epoch: format!("e{}", self.generation).into(), offset: 0 };
        self.entries.clear();
        self.times.clear();
        self.changed_at = self.stamp(now);
    }

    /// A replica that lacks the newest entries takes over.
    pub(crate) fn rewind(&mut self, by: u64, now: UnixMillis) {
        let by = by.min(self.entries.len() as u64);
        for _ in 0..by {
            self.entries.pop_back();
        }
        self.head.offset -= by;
        self.times.truncate(self.head.offset as usize);
        self.rewound |= by > 0;
        self.changed_at = self.stamp(now);
    }

    /// When the entry after an offset was appended.
    pub(crate) fn first_time_after(&self, offset: u64) -> Option<UnixMillis> {
        self.times.get(offset as usize).copied()
    }

    pub(crate) fn is_unreadable(&self, epoch: &LogEpoch, offset: u64) -> bool {
        self.unreadable.contains(&(epoch.clone(), offset))
    }

    pub(crate) fn is_silent(&self, epoch: &LogEpoch, offset: u64, user: &UserId) -> bool {
        self.silent.contains(&(epoch.clone(), offset, user.clone()))
    }

    /// Up to when a feed that stands at `position` has surely got everything.
    pub(crate) fn settled_at(&self, position: &LogPosition, now: UnixMillis) -> UnixMillis {
        if position.epoch != self.head.epoch || position.offset > self.head.offset {
            return UnixMillis(self.changed_at.0.saturating_sub(1));
        }
        self.first_time_after(position.offset).map_or(now, |at| UnixMillis(at.0.saturating_sub(1)))
    }
}
