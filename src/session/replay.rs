//! What must be read again from a log, and what can't be: pure arithmetic on positions.

use super::subscriptions::CatchUpFrom;
use crate::domain::event::LogPosition;

/// Most events of one dialog that are replayed.
pub const REPLAY_MAX_EVENTS: u64 = 1000;

/// Why events can't be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The log does not go back that far.
    Trimmed,
    /// It is a new log, or one that was rewound.
    LogReset,
    /// More than [`REPLAY_MAX_EVENTS`].
    TooFar,
}

impl GapReason {
    /// The reason's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::LogReset => "log_reset",
            Self::TooFar => "too_far",
        }
    }
}

/// The events `from_offset` to `to_offset` can't be replayed (none, if `to` is below `from`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// The first that is missing.
    pub from_offset: u64,
    /// The last that is missing.
    pub to_offset: u64,
}

/// How to go on from a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// To be told first.
    pub gap: Option<Gap>,
    /// Then the entries after this offset follow.
    pub after_offset: u64,
}

/// Where a log stood when it was read.
#[derive(Debug, Clone, Copy)]
pub struct LogExtent<'a> {
    /// Generation and last offset.
    pub head: &'a LogPosition,
    /// The oldest offset it still has; `head.offset + 1` when it has none.
    pub first_offset: u64,
    /// For a catch-up by time: the offset of the oldest entry that is young enough; `head.offset + 1` when none is.
    pub first_since: u64,
}

/// How a subscription at `position` goes on in a log.
#[must_use]
pub fn plan(position: &LogPosition, from: CatchUpFrom, log: LogExtent<'_>) -> Replay {
    let newest = |after: u64| after.max(log.head.offset.saturating_sub(REPLAY_MAX_EVENTS));

    if position.epoch != log.head.epoch || position.offset > log.head.offset {
        let after_offset = newest(log.first_offset - 1);
        let gap = Gap { reason: GapReason::LogReset, from_offset: 1, to_offset: after_offset };
        return Replay { gap: Some(gap), after_offset };
    }
    // What is older than the cursor's time was delivered, as long as the log can show that it is older. What was never
    // numbered was not: the feed has not missed it yet.
    let known = match from {
        CatchUpFrom::Since { numbered, .. } if log.first_since > log.first_offset => {
            position.offset.max((log.first_since - 1).min(numbered))
        }
        CatchUpFrom::Since { .. } | CatchUpFrom::Position => position.offset,
    };
    let held = known.max(log.first_offset - 1);
    let after_offset = newest(held);
    let reason = if after_offset > held {
        Some(GapReason::TooFar)
    } else if held > known {
        Some(GapReason::Trimmed)
    } else {
        None
    };
    let gap = reason.map(|reason| Gap { reason, from_offset: known + 1, to_offset: after_offset });
    Replay { gap, after_offset }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UnixMillis;

    fn at(epoch: &str, offset: u64) -> LogPosition {
        LogPosition { epoch: epoch.into(), offset }
    }

    fn plan_in(
        position: &LogPosition,
        from: CatchUpFrom,
        head: &LogPosition,
        first: u64,
        since: u64,
    ) -> Replay {
        plan(position, from, LogExtent { head, first_offset: first, first_since: since })
    }

    const BY_POSITION: CatchUpFrom = CatchUpFrom::Position;
    const BY_TIME: CatchUpFrom = CatchUpFrom::Since { at: UnixMillis(0), numbered: u64::MAX };

    #[test]
    fn a_position_that_the_log_still_has_goes_on_without_a_gap() {
        let head = at("e", 10);
        assert_eq!(plan_in(&at("e", 4), BY_POSITION, &head, 1, 11), Replay { gap: None, after_offset: 4 });
        assert_eq!(plan_in(&at("e", 4), BY_POSITION, &head, 5, 11), Replay { gap: None, after_offset: 4 });
        assert_eq!(plan_in(&at("e", 10), BY_POSITION, &head, 11, 11), Replay { gap: None, after_offset: 10 });
    }

    #[test]
    fn a_trimmed_log_names_exactly_what_is_missing() {
        let gap = Gap { reason: GapReason::Trimmed, from_offset: 5, to_offset: 6 };
        assert_eq!(
            plan_in(&at("e", 4), BY_POSITION, &at("e", 10), 7, 11),
            Replay { gap: Some(gap), after_offset: 6 }
        );
        let all = Gap { reason: GapReason::Trimmed, from_offset: 5, to_offset: 10 };
        assert_eq!(
            plan_in(&at("e", 4), BY_POSITION, &at("e", 10), 11, 11),
            Replay { gap: Some(all), after_offset: 10 }
        );
    }

    #[test]
    fn a_new_epoch_and_a_rewound_log_begin_again_with_what_is_there() {
        for position in [at("old", 3), at("e", 11)] {
            let replay = plan_in(&position, BY_POSITION, &at("e", 10), 4, 11);
            let gap = Gap { reason: GapReason::LogReset, from_offset: 1, to_offset: 3 };
            assert_eq!(replay, Replay { gap: Some(gap), after_offset: 3 });
        }
        let whole = plan_in(&at("old", 3), BY_POSITION, &at("e", 2), 1, 3);
        let none = Gap { reason: GapReason::LogReset, from_offset: 1, to_offset: 0 };
        assert_eq!(whole, Replay { gap: Some(none), after_offset: 0 });
    }

    #[test]
    fn too_far_keeps_the_newest_thousand() {
        let replay = plan_in(&at("e", 4), BY_POSITION, &at("e", 5000), 1, 5001);
        let gap = Gap { reason: GapReason::TooFar, from_offset: 5, to_offset: 4000 };
        assert_eq!(replay, Replay { gap: Some(gap), after_offset: 4000 });
    }

    #[test]
    fn by_time_what_is_older_counts_as_delivered_only_if_the_log_shows_it() {
        // The log goes back beyond the time: nothing is missing.
        let replay = plan_in(&at("e", 2), BY_TIME, &at("e", 10), 3, 8);
        assert_eq!(replay, Replay { gap: None, after_offset: 7 });
        // It does not: what lies before its first entry may be younger than the cursor.
        let replay = plan_in(&at("e", 2), BY_TIME, &at("e", 10), 8, 8);
        let gap = Gap { reason: GapReason::Trimmed, from_offset: 3, to_offset: 7 };
        assert_eq!(replay, Replay { gap: Some(gap), after_offset: 7 });
        // Everything is older.
        assert_eq!(
            plan_in(&at("e", 2), BY_TIME, &at("e", 10), 1, 11),
            Replay { gap: None, after_offset: 10 }
        );
        // The delivered position is a lower bound.
        assert_eq!(plan_in(&at("e", 9), BY_TIME, &at("e", 10), 1, 4), Replay { gap: None, after_offset: 9 });
    }

    #[test]
    fn by_time_what_was_never_numbered_was_not_delivered_however_old_it_is() {
        let numbered = CatchUpFrom::Since { at: UnixMillis(0), numbered: 6 };
        let replay = plan_in(&at("e", 2), numbered, &at("e", 10), 1, 11);
        assert_eq!(replay, Replay { gap: None, after_offset: 6 });
        // What is young enough is read all the same.
        let replay = plan_in(&at("e", 2), numbered, &at("e", 10), 1, 5);
        assert_eq!(replay, Replay { gap: None, after_offset: 4 });
    }
}
