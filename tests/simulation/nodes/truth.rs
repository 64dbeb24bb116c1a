//! What really happened, to judge by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use edgeway::domain::event::{LogEpoch, LogPosition};
use edgeway::domain::ids::{DialogId, FeedKey, UserId};
use parking_lot::Mutex;
use tokio::time::Instant;

/// What an entry says, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Message(u64),
    Membership {
        dialog: DialogId,
        user: UserId,
        added: bool,
    },
    Other,
    /// Nobody can read it.
    Garbage,
}

/// An entry that was appended to a log.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) said: Said,
}

/// Everything that was appended; the trace; the first thing that was wrong.
pub(crate) struct Truth {
    began: Instant,
    told: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What stood at a place: more than one thing if the log was rewound.
    at: HashMap<(FeedKey, LogEpoch, u64), Vec<Entry>>,
    rewound: BTreeSet<FeedKey>,
    epochs: Vec<LogEpoch>,
    /// Who was taken out of a dialog, where its log says so.
    removed: BTreeMap<(UserId, DialogId), (LogEpoch, u64)>,
    /// Logs have lost entries in some way.
    damaged: bool,
    wrong: Option<String>,
    lines: Vec<String>,
    digest: u64,
}

impl Truth {
    pub(crate) fn new(began: Instant, told: bool) -> Self {
        Self { began, told, state: Mutex::default() }
    }

    /// A line of the trace.
    pub(crate) fn tell(&self, line: std::fmt::Arguments<'_>) {
        let mut text = format!("{:>9.3} ", self.began.elapsed().as_secs_f64());
        let _ = text.write_fmt(line);
        let mut state = self.state.lock();
        for byte in text.bytes() {
            state.digest = (state.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.told {
            state.lines.push(text);
        }
    }

    pub(crate) fn wrong(&self, what: String) {
        self.tell(format_args!("WRONG: {what}"));
        self.state.lock().wrong.get_or_insert(what);
    }

    pub(crate) fn is_wrong(&self) -> bool {
        self.state.lock().wrong.is_some()
    }

    /// What was wrong, the trace, and what tells one trace from another.
    pub(crate) fn verdict(&self) -> (Option<String>, Vec<String>, u64) {
        let mut state = self.state.lock();
        (state.wrong.clone(), std::mem::take(&mut state.lines), state.digest)
    }

    pub(crate) fn appended(&self, feed: &FeedKey, at: &LogPosition, entry: Entry) {
        self.tell(format_args!("log {feed} {}/{} {}", self.name_of(&at.epoch), at.offset, entry.key));
        let place = (feed.clone(), at.epoch.clone(), at.offset);
        let mut state = self.state.lock();
        if let (FeedKey::Dialog(_), Said::Membership { dialog, user, added }) = (feed, &entry.said) {
            let whose = (user.clone(), dialog.clone());
            if *added {
                state.removed.remove(&whose);
            } else {
                state.removed.insert(whose, (at.epoch.clone(), at.offset));
            }
        }
        state.at.entry(place).or_default().push(entry);
    }

    /// Whether a dialog's log says before this offset that the user is out of it, and nothing else since.
    pub(crate) fn was_removed_before(&self, user: &UserId, dialog: &DialogId, offset: u64) -> bool {
        let whose = (user.clone(), dialog.clone());
        let state = self.state.lock();
        !state.rewound.contains(&FeedKey::Dialog(dialog.clone()))
            && state.removed.get(&whose).is_some_and(|(epoch, at)| {
                offset > *at
                    && state.at.contains_key(&(FeedKey::Dialog(dialog.clone()), epoch.clone(), offset))
            })
    }

    /// How the trace calls an epoch: its own name is random.
    pub(crate) fn name_of(&self, epoch: &LogEpoch) -> String {
        let mut state = self.state.lock();
        let known = state.epochs.iter().position(|known| known == epoch);
        let number = known.unwrap_or_else(|| {
            state.epochs.push(epoch.clone());
            state.epochs.len() - 1
        });
        format!("e{number}")
    }

    pub(crate) fn damage(&self) {
        self.state.lock().damaged = true;
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.state.lock().damaged
    }

    pub(crate) fn rewind(&self, feed: &FeedKey) {
        let mut state = self.state.lock();
        state.damaged = true;
        state.rewound.insert(feed.clone());
    }

    pub(crate) fn is_rewound(&self, feed: &FeedKey) -> bool {
        self.state.lock().rewound.contains(feed)
    }

    /// Whether this very thing ever stood there.
    pub(crate) fn stood(&self, feed: &FeedKey, epoch: &LogEpoch, offset: u64, key: &str) -> bool {
        let place = (feed.clone(), epoch.clone(), offset);
        self.state.lock().at.get(&place).is_some_and(|all| all.iter().any(|entry| entry.key == key))
    }

    /// What stands there now.
    pub(crate) fn newest(&self, feed: &FeedKey, epoch: &LogEpoch, offset: u64) -> Option<Entry> {
        let place = (feed.clone(), epoch.clone(), offset);
        self.state.lock().at.get(&place).and_then(|all| all.last().cloned())
    }

    /// Whether what stood at a place never comes to a user: nobody can read it, or it is told from the user's own feed.
    pub(crate) fn never_comes(&self, feed: &FeedKey, epoch: &LogEpoch, offset: u64, user: &UserId) -> bool {
        let place = (feed.clone(), epoch.clone(), offset);
        let state = self.state.lock();
        let Some(all) = state.at.get(&place) else { return true };
        all.iter().any(|entry| match &entry.said {
            Said::Garbage => true,
            Said::Membership { user: whose, .. } => feed.dialog().is_some() && whose == user,
            Said::Message(_) | Said::Other => false,
        })
    }
}
