//! The model of a client, and the oracle: it knows the logs, and says at once when something was lost or repeated.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use edgeway::domain::event::{Event, EventKind, LogEpoch, LogPosition, MembershipChange};
use edgeway::domain::ids::{FeedKey, UserId};
use edgeway::session::cursor::Cursor;
use edgeway::session::reader::Resume;

use super::bus::Log;

/// What a client knows of one feed.
#[derive(Clone)]
pub(crate) struct FeedState {
    /// Which subscription it belongs to.
    pub(crate) instance: u64,
    pub(crate) last: LogPosition,
    /// What it processed since the subscription or the last `log_reset`: offset to event.
    pub(crate) seen: BTreeMap<u64, u64>,
    /// The newest message it has; `None` when some may be missing.
    pub(crate) seq: Option<u64>,
    /// The newest message that it said it has when it followed the feed anew.
    said: u64,
    /// Above this offset everything was processed or announced.
    pub(crate) whole_after: u64,
    /// The log was rewound while nobody knew what this client had.
    pub(crate) untrusted: bool,
    /// Epochs that were told to be over.
    past_epochs: BTreeSet<LogEpoch>,
}

pub(crate) type State = BTreeMap<FeedKey, FeedState>;

pub(crate) struct Client {
    pub(crate) user: UserId,
    pub(crate) state: State,
    /// Where each subscription that holds now began.
    pub(crate) starts: State,
    pub(crate) cursor: Option<Cursor>,
    /// Older cursors, and what the client had then.
    pub(crate) history: Vec<(Cursor, State)>,
    pub(crate) attaches: u64,
    /// It has gone back to an older state, and must tell the server where it is.
    pub(crate) must_present: bool,
    /// What every number has carried: it must never carry anything else.
    numbered: HashMap<(u32, u64), u64>,
    ephemerals: HashSet<u64>,
    /// The newest event of the own feed that was ever processed.
    newest_own: u64,
    /// The newest generation and number that was processed.
    newest: (u32, u64),
    /// How the current attach began, and whether the queue may still hold what a rebuild repeats.
    pub(crate) resume: Option<Resume>,
    last_number: Option<Cursor>,
    /// The own log has lost entries: whether it has left a dialog may never have been told.
    pub(crate) unsure: bool,
}

/// The number by which the simulation knows an event.
pub(crate) fn id_of(event: &Event) -> u64 {
    let text = std::str::from_utf8(&event.body).unwrap();
    text.split(';').next().unwrap().parse().unwrap()
}

impl Client {
    pub(crate) fn new(user: UserId) -> Self {
        Self {
            user,
            state: State::new(),
            starts: State::new(),
            cursor: None,
            history: Vec::new(),
            attaches: 0,
            must_present: false,
            numbered: HashMap::new(),
            ephemerals: HashSet::new(),
            newest_own: 0,
            newest: (0, 0),
            resume: None,
            last_number: None,
            unsure: false,
        }
    }

    /// `said`: the newest message that it has said it has.
    pub(crate) fn follow(
        &mut self,
        feed: &FeedKey,
        instance: u64,
        start: LogPosition,
        seq: Option<u64>,
        said: u64,
    ) {
        let whole_after = start.offset;
        let begun = FeedState {
            instance,
            last: start,
            seen: BTreeMap::new(),
            seq,
            said,
            whole_after,
            untrusted: false,
            past_epochs: BTreeSet::new(),
        };
        self.starts.insert(feed.clone(), begun.clone());
        self.state.insert(feed.clone(), begun);
    }

    pub(crate) fn unfollow(&mut self, feed: &FeedKey) {
        self.starts.remove(feed);
        self.state.remove(feed);
    }

    /// Restored from a backup: as it was at an older cursor.
    pub(crate) fn go_back(&mut self, cursor: Cursor, old: &State) {
        self.state = self
            .starts
            .iter()
            .map(|(feed, start)| {
                let then = old.get(feed).filter(|then| then.instance == start.instance);
                (feed.clone(), then.unwrap_or(start).clone())
            })
            .collect();
        self.cursor = Some(cursor);
        self.must_present = true;
        self.newest = (cursor.epoch, cursor.number);
    }

    pub(crate) fn attached(
        &mut self,
        resume: Resume,
        presented: Option<Cursor>,
        welcome: Cursor,
    ) -> Result<(), String> {
        self.resume = Some(resume);
        self.last_number = Some(welcome);
        if let Some(presented) = presented {
            if resume == Resume::Resumed && presented.epoch != welcome.epoch {
                return Err(format!("resumed at {welcome} from {presented}"));
            }
            if presented.number != welcome.number {
                return Err(format!("welcome goes on from {welcome}, not {presented}"));
            }
        }
        self.must_present = false;
        Ok(())
    }

    pub(crate) fn trust_no_more(&mut self, feed: &FeedKey) {
        let older = self.history.iter_mut().map(|(_, state)| state);
        for state in older.chain([&mut self.state, &mut self.starts]) {
            if let Some(state) = state.get_mut(feed) {
                state.untrusted = true;
            }
        }
    }

    pub(crate) fn remember(&mut self, cursor: Cursor) {
        self.cursor = Some(cursor);
        self.history.push((cursor, self.state.clone()));
        if self.history.len() > 24 {
            self.history.remove(0);
        }
    }

    pub(crate) fn ephemeral(&mut self, event: &Event) -> Result<(), String> {
        if self.ephemerals.insert(id_of(event)) {
            Ok(())
        } else {
            Err("an ephemeral event came twice".into())
        }
    }

    /// What is true of everything the server hands out, whether the client ever sees it or not.
    pub(crate) fn check_handed_out(&mut self, cursor: Cursor, event: &Event) -> Result<(), String> {
        let identity = if event.logged.is_some() { id_of(event) } else { u64::MAX };
        let known = *self.numbered.entry((cursor.epoch, cursor.number)).or_insert(identity);
        if known != identity {
            return Err(format!("number {cursor} carried {known}, now {identity}"));
        }
        if let Some(last) = self.last_number
            && (cursor.epoch != last.epoch || cursor.number <= last.number)
        {
            return Err(format!("{cursor} follows {last}"));
        }
        self.last_number = Some(cursor);
        Ok(())
    }

    pub(crate) fn process(
        &mut self,
        cursor: Cursor,
        event: &Event,
        logs: &BTreeMap<FeedKey, Log>,
        followed: impl Fn(&FeedKey) -> bool,
    ) -> Result<(), String> {
        // Attached without a cursor: what was processed but not acknowledged comes again.
        let place = (cursor.epoch, cursor.number);
        if place <= self.newest {
            return Ok(());
        }
        self.newest = place;
        let own = self.user.clone();
        let Some(state) = self.state.get_mut(&event.feed) else {
            return Err(format!("{} is not followed: {:?}", event.feed, event.kind));
        };
        match &event.kind {
            EventKind::Gap { .. } => {
                tell_gap(state, event, &own, &logs[&event.feed])?;
                if event.feed.dialog().is_none() {
                    // Joining and leaving may have been missed: a client asks what it follows.
                    self.unsure = true;
                    let gone: Vec<FeedKey> =
                        self.state.keys().filter(|feed| !followed(feed)).cloned().collect();
                    gone.iter().for_each(|feed| self.unfollow(feed));
                }
            }
            EventKind::Restored { seq, .. } => {
                if let Some(known) = state.seq {
                    if *seq > known.max(state.said) + 1 && !logs[&event.feed].rewound {
                        return Err(format!("restored message {seq} after {known}"));
                    }
                    state.seq = Some(known.max(*seq));
                }
            }
            kind => {
                if !take_logged(state, event, &own, &logs[&event.feed])? {
                    self.remember(cursor);
                    return Ok(());
                }
                if let EventKind::Membership { dialog, user, change: MembershipChange::Removed } = kind
                    && *user == own
                    && id_of(event) > self.newest_own
                {
                    self.newest_own = id_of(event);
                    // It may have been subscribed to anew before this was told: then the session knows better.
                    let feed = FeedKey::Dialog(dialog.clone());
                    if !followed(&feed) {
                        self.unfollow(&feed);
                    }
                }
            }
        }
        self.remember(cursor);
        Ok(())
    }

    /// At the end, when everything was delivered: is it what the logs say?
    pub(crate) fn check_whole(
        &self,
        logs: &BTreeMap<FeedKey, Log>,
        followed: impl Fn(&FeedKey) -> bool,
    ) -> Result<(), String> {
        for (feed, state) in &self.state {
            let log = &logs[feed];
            if state.untrusted || !followed(feed) {
                continue;
            }
            if state.last.epoch != log.head.epoch || state.last.offset > log.head.offset {
                return Err(format!("{feed}: client at {:?}, log at {:?}", state.last, log.head));
            }
            for entry in log.after(state.whole_after) {
                let Some(event) = entry.event.as_ref().filter(|event| !is_silent(event, &self.user)) else {
                    continue;
                };
                let seen = state.seen.get(&entry.offset);
                if seen != Some(&id_of(event)) {
                    return Err(format!(
                        "{feed}: offset {} is {} in the log, the client has {seen:?} (all after {} at {:?})",
                        entry.offset,
                        id_of(event),
                        state.whole_after,
                        state.last,
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Told from the user's own feed only.
pub(crate) fn is_silent(event: &Event, user: &UserId) -> bool {
    event.feed.dialog().is_some()
        && matches!(&event.kind, EventKind::Membership { user: whom, .. } if whom == user)
}

/// Whether an offset never comes to this user: nobody can read it, or it is told from elsewhere.
fn never_comes(log: &Log, offset: u64, epoch: &str, user: &UserId) -> bool {
    log.is_unreadable(&epoch.into(), offset) || log.is_silent(&epoch.into(), offset, user)
}

/// False if it is a repeat.
fn take_logged(state: &mut FeedState, event: &Event, user: &UserId, log: &Log) -> Result<bool, String> {
    let logged = event.logged.as_ref().unwrap();
    if state.past_epochs.contains(&logged.epoch) {
        // It came back with an older cursor than what it knows.
        return Ok(false);
    }
    if logged.epoch != state.last.epoch {
        return Err(format!("{}: {logged:?} without a gap after {:?}", event.feed, state.last));
    }
    if logged.offset <= state.last.offset {
        return Ok(false);
    }
    for missing in state.last.offset + 1..logged.offset {
        if !state.untrusted && !never_comes(log, missing, &logged.epoch, user) {
            return Err(format!("{}: lost {missing}: {logged:?} after {:?}", event.feed, state.last));
        }
    }
    state.last.offset = logged.offset;
    state.seen.insert(logged.offset, id_of(event));
    if let EventKind::Message { seq, .. } = event.kind {
        if !log.rewound && state.seq.is_some_and(|known| seq > known.max(state.said) + 1) {
            return Err(format!(
                "{}: message {seq} after {:?} without a gap that says so",
                event.feed, state.seq
            ));
        }
        state.seq = Some(state.seq.unwrap_or(0).max(seq));
    }
    Ok(true)
}

fn tell_gap(state: &mut FeedState, event: &Event, user: &UserId, log: &Log) -> Result<(), String> {
    let text = std::str::from_utf8(&event.body).unwrap();
    let mut parts = text.split(';').skip(2);
    let reason = parts.next().unwrap();
    let from: u64 = parts.next().unwrap().parse().unwrap();
    let restored = parts.next().unwrap() == "true";
    let epoch = parts.next().unwrap();
    let after = LogPosition { epoch: epoch.into(), offset: parts.next().unwrap().parse().unwrap() };
    if reason == "log_reset" {
        if after.epoch != state.last.epoch {
            state.past_epochs.insert(state.last.epoch.clone());
        }
        state.last = after.clone();
        state.seen.clear();
        state.untrusted = false;
        state.whole_after = after.offset;
    } else {
        if after.epoch != state.last.epoch {
            return Err(format!("{}: {reason} to {after:?} from {:?}", event.feed, state.last));
        }
        for missing in state.last.offset + 1..from {
            if !state.untrusted && !never_comes(log, missing, &after.epoch, user) {
                return Err(format!(
                    "{}: lost {missing}: gap from {from} after {:?}",
                    event.feed, state.last
                ));
            }
        }
        if after.offset > state.last.offset {
            state.last = after.clone();
            state.whole_after = after.offset;
        }
    }
    if !restored {
        state.seq = None;
    }
    Ok(())
}
