//! What happens in a run, drawn up from the seed before it begins: so that a failing run can be made shorter by leaving
//! steps out.

use std::fmt;

use crate::rng::Rng;

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// A user who is not connected says something.
    Post {
        dialog: usize,
        count: u64,
    },
    /// A client sends; perhaps the same once more at the same time.
    Send {
        seat: usize,
        dialog: usize,
        twice: bool,
    },
    /// A client drops its connection and comes back at once.
    Reconnect {
        seat: usize,
    },
    /// A client goes, and comes back later.
    Leave {
        seat: usize,
    },
    Return {
        seat: usize,
    },
    Subscribe {
        seat: usize,
        dialog: usize,
    },
    Unsubscribe {
        seat: usize,
        dialog: usize,
    },
    /// A member is removed; somebody who is not a member is added.
    Membership {
        user: usize,
        dialog: usize,
    },
    /// A client takes its time between two batches.
    Slow {
        seat: usize,
        millis: u64,
    },
    Typing {
        seat: usize,
        dialog: usize,
    },
    /// Live payloads that a node never gets, without a word.
    Lose {
        node: usize,
        count: u64,
    },
    Repeat {
        node: usize,
        count: u64,
    },
    SlowLink {
        node: usize,
        millis: u64,
    },
    /// Nothing gets to a node or from it, for a while.
    CutOff {
        node: usize,
        millis: u64,
    },
    /// Only the live link breaks.
    CutLink {
        node: usize,
        millis: u64,
    },
    /// As `kill -9`; another takes its place.
    Kill {
        node: usize,
    },
    /// As `SIGTERM`.
    Drain {
        node: usize,
    },
    WallClock {
        node: usize,
        error_millis: i64,
    },
    Trim {
        dialog: usize,
        keep: usize,
    },
    /// A log is lost: it begins anew in another epoch.
    Reset {
        dialog: usize,
    },
    ResetUser {
        user: usize,
    },
    /// A replica that lacked the newest entries took over.
    Rewind {
        dialog: usize,
        by: usize,
    },
    BusDown {
        millis: u64,
    },
    StoreDown {
        millis: u64,
    },
    StoreSlow {
        millis: u64,
    },
    /// The next sends are committed and not answered.
    StoreSilent {
        sends: u64,
    },
    NoHistory {
        off: bool,
    },
    Garbage {
        dialog: usize,
    },
    Other {
        dialog: usize,
    },
}

impl Act {
    /// Whether live payloads may be lost by it.
    pub(crate) fn loses(&self) -> bool {
        matches!(
            self,
            Self::Lose { .. }
                | Self::CutOff { .. }
                | Self::CutLink { .. }
                | Self::Kill { .. }
                | Self::Drain { .. }
                | Self::Reset { .. }
                | Self::ResetUser { .. }
                | Self::Rewind { .. }
                | Self::BusDown { .. }
        )
    }
}

/// When, after the step before.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) after_millis: u64,
    pub(crate) act: Act,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{} ms {:?}", self.after_millis, self.act)
    }
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) users: usize,
    pub(crate) seats: usize,
    /// Which seats follow all dialogs of their user.
    pub(crate) follow_all: Vec<bool>,
    pub(crate) dialogs: usize,
    pub(crate) queue_events: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) log_entries: usize,
    pub(crate) resume_window_secs: u64,
    pub(crate) presence_grace_secs: u64,
    pub(crate) latency_max_millis: u64,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let users = rng.between(2, 3) as usize;
        let seats = users + rng.below(3) as usize;
        let mut plan = Self {
            seed,
            nodes: rng.between(1, 3) as usize,
            users,
            seats,
            follow_all: (0..seats).map(|_| rng.percent(25)).collect(),
            dialogs: rng.between(1, 3) as usize,
            queue_events: rng.between(3, 40) as usize,
            queue_bytes: rng.between(800, 8000) as usize,
            log_entries: if rng.percent(70) { 1000 } else { rng.between(15, 60) as usize },
            resume_window_secs: rng.between(4, 60),
            presence_grace_secs: rng.between(1, 10),
            latency_max_millis: [2, 20, 200][rng.index(3)],
            steps: Vec::new(),
        };
        // A few kinds of faults at a time: a run in which everything fails shows little.
        let faults: u64 = rng.next() & rng.next();
        let count = rng.between(20, 90);
        for _ in 0..count {
            let after_millis = match rng.below(20) {
                0..9 => rng.below(30),
                9..17 => rng.below(900),
                17..19 => rng.below(5000),
                _ => rng.below(40_000),
            };
            let act = plan.act(rng, faults);
            plan.steps.push(Step { after_millis, act });
        }
        plan
    }

    fn act(&self, rng: &mut Rng, faults: u64) -> Act {
        let seat = rng.index(self.seats);
        let dialog = rng.index(self.dialogs);
        if rng.percent(25) {
            return self.fault(rng, faults).unwrap_or(Act::Post { dialog, count: rng.between(1, 3) });
        }
        match rng.below(20) {
            0..6 => Act::Post { dialog, count: if rng.percent(10) { rng.between(10, 60) } else { 1 } },
            6..9 => Act::Send { seat, dialog, twice: rng.percent(30) },
            9..12 => Act::Reconnect { seat },
            12 => Act::Leave { seat },
            13 => Act::Return { seat },
            14..16 => Act::Subscribe { seat, dialog },
            16 => Act::Unsubscribe { seat, dialog },
            17 => Act::Slow { seat, millis: if rng.percent(50) { 0 } else { rng.below(800) } },
            18 => Act::Membership { user: rng.index(self.users), dialog },
            _ => Act::Typing { seat, dialog },
        }
    }

    /// One of the kinds of this run.
    fn fault(&self, rng: &mut Rng, faults: u64) -> Option<Act> {
        let node = rng.index(self.nodes);
        let dialog = rng.index(self.dialogs);
        let millis = if rng.percent(70) { rng.below(1500) } else { rng.below(12_000) };
        let kind = rng.below(19);
        if faults & (1 << kind) == 0 {
            return None;
        }
        Some(match kind {
            0 => Act::Lose { node, count: rng.between(1, 3) },
            1 => Act::Repeat { node, count: rng.between(1, 3) },
            2 => Act::SlowLink { node, millis: rng.below(400) },
            3 => Act::CutOff { node, millis },
            4 => Act::CutLink { node, millis },
            5 => Act::Kill { node },
            6 => Act::Drain { node },
            7 => Act::WallClock { node, error_millis: rng.below(7_200_000) as i64 - 3_600_000 },
            8 => Act::Trim { dialog, keep: rng.below(8) as usize },
            9 => Act::Reset { dialog },
            10 => Act::ResetUser { user: rng.index(self.users) },
            11 => Act::Rewind { dialog, by: rng.between(1, 6) as usize },
            12 => Act::BusDown { millis },
            13 => Act::StoreDown { millis },
            14 => Act::StoreSlow { millis: rng.below(1500) },
            15 => Act::StoreSilent { sends: rng.between(1, 3) },
            16 => Act::NoHistory { off: rng.percent(60) },
            17 => Act::Garbage { dialog },
            _ => Act::Other { dialog },
        })
    }
}
