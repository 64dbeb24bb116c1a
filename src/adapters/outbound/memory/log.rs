//! One feed's log: a bounded run of entries and where it stands.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::application::ports::bus::{Appended, EVENT_KEY_WINDOW, LogEntry, LogSlice, ReadFrom};
use crate::domain::event::{LogEpoch, LogPosition};
use crate::domain::time::UnixMillis;

/// What an entry costs beside its texts, about: what bounds bytes must not be fooled by tiny events.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// An entry as it is kept: its offset follows from where it lies.
#[derive(Debug)]
struct Kept {
    at: UnixMillis,
    key: Box<str>,
    json: Bytes,
}

impl Kept {
    fn bytes(&self) -> usize {
        ENTRY_OVERHEAD_BYTES + self.key.len() + self.json.len()
    }
}

/// A log: generation, last offset, and the newest entries. The entries may go long before the rest does.
#[derive(Debug)]
pub(super) struct Log {
    epoch: LogEpoch,
    offset: u64,
    last_at: UnixMillis,
    entries: VecDeque<Kept>,
    bytes: usize,
}

impl Log {
    /// An empty log of a new generation.
    pub(super) fn new(epoch: LogEpoch) -> Self {
        Self { epoch, offset: 0, last_at: UnixMillis(0), entries: VecDeque::new(), bytes: 0 }
    }

    /// What the entries cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When something was last appended.
    pub(super) fn last_at(&self) -> UnixMillis {
        self.last_at
    }

    /// Where the log has an entry of this key among its newest [`EVENT_KEY_WINDOW`].
    pub(super) fn repeated(&self, key: &str) -> Option<Appended> {
        let back = self.entries.iter().rev().take(EVENT_KEY_WINDOW).position(|kept| *kept.key == *key)?;
        Some(Appended {
            position: LogPosition { epoch: self.epoch.clone(), offset: self.offset - back as u64 },
            at: self.entries[self.entries.len() - 1 - back].at,
            repeated: true,
        })
    }

    /// Appends, at `now` or the time of the entry before it if that is later; at most `entries_max` stay.
    pub(super) fn append(&mut self, key: &str, json: Bytes, now: UnixMillis, entries_max: usize) -> LogEntry {
        self.offset += 1;
        self.last_at = self.last_at.max(now);
        let kept = Kept { at: self.last_at, key: key.into(), json: json.clone() };
        self.bytes += kept.bytes();
        self.entries.push_back(kept);
        self.trim(entries_max);
        LogEntry { epoch: self.epoch.clone(), offset: self.offset, at: self.last_at, json }
    }

    /// A piece of the log, and where the log stands.
    pub(super) fn read(&self, from: ReadFrom, limit: usize) -> LogSlice {
        let first_offset = self.first_offset();
        let start = match from {
            ReadFrom::AfterOffset(offset) => {
                usize::try_from((offset.saturating_add(1)).saturating_sub(first_offset)).unwrap_or(usize::MAX)
            }
            ReadFrom::Since(time) => self.entries.partition_point(|kept| kept.at < time),
            ReadFrom::Newest => self.entries.len().saturating_sub(limit),
        };
        let entries = (first_offset..)
            .zip(&self.entries)
            .skip(start)
            .take(limit)
            .map(|(offset, kept)| LogEntry {
                epoch: self.epoch.clone(),
                offset,
                at: kept.at,
                json: kept.json.clone(),
            })
            .collect();
        LogSlice {
            head: LogPosition { epoch: self.epoch.clone(), offset: self.offset },
            first_offset,
            entries,
        }
    }

    fn first_offset(&self) -> u64 {
        self.offset - self.entries.len() as u64 + 1
    }

    /// Drops the oldest entries down to this many.
    pub(super) fn trim(&mut self, keep: usize) {
        while self.entries.len() > keep {
            self.drop_oldest();
        }
        if keep == 0 {
            self.entries = VecDeque::new();
        }
    }

    /// Drops the oldest entries until so many bytes are free, or none is left; says how many became free.
    pub(super) fn shed(&mut self, bytes: usize) -> usize {
        let before = self.bytes;
        while before - self.bytes < bytes && self.drop_oldest() {}
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        before - self.bytes
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(kept) = self.entries.pop_front() else { return false };
        self.bytes -= kept.bytes();
        true
    }

    /// Loses the newest entries as a failover does: the next ones take their offsets again, in the same epoch.
    pub(super) fn rewind(&mut self, by: usize) {
        for _ in 0..by {
            let Some(kept) = self.entries.pop_back() else { return };
            self.bytes -= kept.bytes();
            self.offset -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(entries: u64) -> Log {
        let mut log = Log::new("e".into());
        for n in 1..=entries {
            log.append(&format!("k{n}"), Bytes::from(format!("{n}")), UnixMillis(n * 10), 1000);
        }
        log
    }

    fn offsets(slice: &LogSlice) -> Vec<u64> {
        slice.entries.iter().map(|entry| entry.offset).collect()
    }

    #[test]
    fn only_the_newest_entries_stay() {
        let mut log = Log::new("e".into());
        for n in 0..10 {
            log.append(&n.to_string(), Bytes::new(), UnixMillis(1), 3);
        }
        let slice = log.read(ReadFrom::AfterOffset(0), 100);
        assert_eq!((slice.head.offset, slice.first_offset), (10, 8));
        assert_eq!(offsets(&slice), [8, 9, 10]);
    }

    #[test]
    fn a_key_is_repeated_only_within_the_window() {
        let log = log_of(EVENT_KEY_WINDOW as u64 + 1);
        assert_eq!(log.repeated("k1"), None);
        let oldest = log.repeated("k2").expect("still in the window");
        assert_eq!((oldest.position.offset, oldest.at, oldest.repeated), (2, UnixMillis(20), true));
        assert_eq!(log.repeated("k65").map(|found| found.position.offset), Some(65));
    }

    #[test]
    fn times_never_fall_within_a_log() {
        let mut log = Log::new("e".into());
        let times = [5, 3, 7].map(|now| log.append("k", Bytes::new(), UnixMillis(now), 10).at.0);
        assert_eq!(times, [5, 5, 7]);
    }

    #[test]
    fn a_rewound_log_takes_offsets_again_in_its_epoch() {
        let mut log = log_of(5);
        log.rewind(2);
        assert_eq!(log.read(ReadFrom::Newest, 1).head.offset, 3);
        assert_eq!(log.repeated("k5"), None);
        assert_eq!(log.append("other", Bytes::new(), UnixMillis(60), 1000).offset, 4);
        log.rewind(100);
        assert_eq!(log.read(ReadFrom::Newest, 1).head.offset, 0);
    }

    #[test]
    fn bytes_are_counted_exactly() {
        let mut log = log_of(9);
        assert_eq!(log.bytes(), 9 * (ENTRY_OVERHEAD_BYTES + 3));
        assert_eq!(log.shed(1), ENTRY_OVERHEAD_BYTES + 3);
        log.rewind(1);
        log.trim(2);
        assert_eq!(log.bytes(), 2 * (ENTRY_OVERHEAD_BYTES + 3));
        assert_eq!(log.shed(usize::MAX), 2 * (ENTRY_OVERHEAD_BYTES + 3));
        assert_eq!(log.bytes(), 0);
        assert_eq!(log.read(ReadFrom::Newest, 9).first_offset, 9);
    }

    #[test]
    fn a_read_begins_where_it_was_told_and_stops_at_its_limit() {
        let mut log = log_of(10);
        log.trim(6);
        assert_eq!(offsets(&log.read(ReadFrom::AfterOffset(0), 2)), [5, 6]);
        assert_eq!(offsets(&log.read(ReadFrom::AfterOffset(8), 9)), [9, 10]);
        assert!(offsets(&log.read(ReadFrom::AfterOffset(u64::MAX), 9)).is_empty());
        assert_eq!(offsets(&log.read(ReadFrom::Since(UnixMillis(75)), 2)), [8, 9]);
        assert_eq!(offsets(&log.read(ReadFrom::Since(UnixMillis(80)), 1)), [8]);
        assert_eq!(offsets(&log.read(ReadFrom::Newest, 2)), [9, 10]);
        assert!(offsets(&log.read(ReadFrom::Newest, 0)).is_empty());
    }
}
