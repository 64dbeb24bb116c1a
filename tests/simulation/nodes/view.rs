//! What a client knows, and the judge of what it is told: nothing lost without a gap, nothing repeated without reason,
//! nothing that never was, nothing after a removal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use edgeway::domain::event::{Event, EventKind, LogEpoch, MembershipChange};
use edgeway::domain::ids::{DialogId, FeedKey, UserId};
use edgeway::session::cursor::Cursor;
use edgeway::session::reader::Resume;
use serde_json::Value;

use super::truth::Truth;

/// What a client knows of one feed.
#[derive(Debug, Clone)]
pub(crate) struct FeedView {
    pub(crate) epoch: LogEpoch,
    /// The last offset it has; `None` when nothing has come yet.
    pub(crate) last: Option<u64>,
    /// Before anything has come: what is above this must come.
    begins_at: u64,
    /// Above this everything was seen or announced to be missing.
    whole_after: u64,
    seen: BTreeMap<u64, String>,
    /// Something it has may come once more: it has asked for it, or the session was rebuilt.
    repeats_may_come: bool,
    /// The newest message; `None` when some may be missing.
    pub(crate) seq: Option<u64>,
    /// It has asked to be told anew, and not heard of it: then it has what it said it has, whatever it is told meanwhile.
    asked: bool,
    /// The log lost its tail while nobody knew what this client had.
    pub(crate) untrusted: bool,
}

impl FeedView {
    fn new(epoch: LogEpoch, begins_at: u64, seq: Option<u64>) -> Self {
        Self {
            epoch,
            last: None,
            begins_at,
            whole_after: begins_at,
            seen: BTreeMap::new(),
            repeats_may_come: false,
            seq,
            asked: false,
            untrusted: false,
        }
    }

    /// Up to where it has come.
    pub(crate) fn position(&self) -> u64 {
        self.last.unwrap_or(self.begins_at)
    }
}

/// What a client knows.
pub(crate) struct View {
    pub(crate) user: UserId,
    pub(crate) feeds: BTreeMap<FeedKey, FeedView>,
    /// The cursor of what it has processed last.
    pub(crate) cursor: Option<Cursor>,
    /// Dialogs it has asked to follow, and not heard of.
    asked: BTreeSet<DialogId>,
    pub(crate) follows_all: bool,
    /// What every number of this session has carried.
    numbered: HashMap<(u32, u64), String>,
    /// What the reader was handed last.
    handed: Option<Cursor>,
    /// The newest generation and number that was processed.
    newest: (u32, u64),
    /// Events of its own feed may have been missed: it can't know what it belongs to.
    pub(crate) unsure: bool,
    truth: Arc<Truth>,
}

impl View {
    pub(crate) fn new(user: UserId, truth: Arc<Truth>) -> Self {
        Self {
            user,
            feeds: BTreeMap::new(),
            cursor: None,
            asked: BTreeSet::new(),
            follows_all: false,
            numbered: HashMap::new(),
            handed: None,
            newest: (0, 0),
            unsure: false,
            truth,
        }
    }

    /// A new session: what was known of dialogs is to be presented as `since`.
    pub(crate) fn begin(&mut self, cursor: Cursor, own: (LogEpoch, u64)) {
        let feed = FeedKey::User(self.user.clone());
        self.feeds.insert(feed, FeedView::new(own.0, own.1, None));
        self.numbered.clear();
        self.cursor = Some(cursor);
        self.handed = Some(cursor);
        self.newest = (0, 0);
        self.unsure = false;
    }

    pub(crate) fn attached(
        &mut self,
        resume: Resume,
        presented: Option<Cursor>,
        from: Cursor,
    ) -> Result<(), String> {
        self.handed = Some(from);
        if let Some(presented) = presented {
            if presented.number != from.number {
                return Err(format!("goes on from {from}, not from {presented}"));
            }
            if resume == Resume::Resumed && presented.epoch != from.epoch {
                return Err(format!("resumed at {from} from {presented}"));
            }
        }
        if resume != Resume::Resumed || presented.is_none() {
            self.feeds.values_mut().for_each(|view| view.repeats_may_come = true);
        }
        self.cursor = Some(from);
        Ok(())
    }

    pub(crate) fn ask(&mut self, dialog: &DialogId) {
        self.asked.insert(dialog.clone());
        if let Some(view) = self.feeds.get_mut(&FeedKey::Dialog(dialog.clone())) {
            view.asked = true;
            view.repeats_may_come = true;
            // Begun anew amid a gap's messages, the rest of them is forgone.
            view.seq = None;
        }
    }

    /// The answer to having asked: followed from here.
    pub(crate) fn followed(&mut self, dialog: &DialogId, epoch: LogEpoch, offset: u64, seq: Option<u64>) {
        self.asked.remove(dialog);
        match self.feeds.get_mut(&FeedKey::Dialog(dialog.clone())) {
            Some(view) => {
                view.asked = false;
                view.repeats_may_come |= view.last.is_some();
            }
            None => {
                self.feeds.insert(FeedKey::Dialog(dialog.clone()), FeedView::new(epoch, offset, seq));
            }
        }
    }

    pub(crate) fn not_followed(&mut self, dialog: &DialogId) {
        self.asked.remove(dialog);
        self.feeds.remove(&FeedKey::Dialog(dialog.clone()));
    }

    pub(crate) fn trust_no_more(&mut self, feed: &FeedKey) {
        if let Some(view) = self.feeds.get_mut(feed) {
            view.untrusted = true;
        }
    }

    /// Takes what came. `followed`: what the session says that it follows. `may_read`: whether its user belongs to a
    /// dialog, or nobody could know otherwise.
    pub(crate) fn take(
        &mut self,
        cursor: Cursor,
        event: &Event,
        followed: impl Fn(&FeedKey) -> bool,
        may_read: impl Fn(&DialogId, u64) -> bool,
    ) -> Result<(), String> {
        self.check_number(cursor, event)?;
        // Attached without a cursor: what was processed and not acknowledged comes again.
        self.cursor = Some(cursor);
        if (cursor.epoch, cursor.number) <= self.newest {
            return Ok(());
        }
        self.newest = (cursor.epoch, cursor.number);
        if let (Some(dialog), Some(logged)) = (event.feed.dialog(), &event.logged)
            && !may_read(dialog, logged.offset)
        {
            return Err(format!("{dialog} offset {} left after a removal", logged.offset));
        }
        if !self.feeds.contains_key(&event.feed) {
            self.begin_with(event)?;
        }
        let truth = self.truth.clone();
        let user = self.user.clone();
        let view = self.feeds.get_mut(&event.feed).unwrap();
        match &event.kind {
            EventKind::Gap { .. } => {
                tell_gap(view, event, &user, &truth)?;
                if event.feed.dialog().is_none() {
                    self.unsure = true;
                    self.feeds.retain(|feed, _| followed(feed));
                }
            }
            EventKind::Restored { seq, .. } => {
                if let Some(known) = view.seq {
                    if *seq > known + 1 && !truth.is_rewound(&event.feed) {
                        return Err(format!("{}: restored message {seq} after {known}", event.feed));
                    }
                    view.seq = Some(known.max(*seq));
                }
            }
            kind => {
                let new = take_logged(view, event, &user, &truth)?;
                if let EventKind::Membership { dialog, user: whose, change } = kind
                    && *whose == user
                    && new
                {
                    self.moved(dialog, *change, &followed);
                }
            }
        }
        Ok(())
    }

    fn moved(&mut self, dialog: &DialogId, change: MembershipChange, followed: impl Fn(&FeedKey) -> bool) {
        let feed = FeedKey::Dialog(dialog.clone());
        // Whoever follows all begins anew with the joining; others may have subscribed again before they heard of this.
        let begins_anew = self.follows_all || (!followed(&feed) && !self.asked.contains(dialog));
        if change == MembershipChange::Removed && begins_anew {
            self.feeds.remove(&feed);
        }
    }

    fn begin_with(&mut self, event: &Event) -> Result<(), String> {
        let known = match event.feed.dialog() {
            Some(dialog) => self.follows_all || self.asked.contains(dialog),
            None => true,
        };
        if !known {
            return Err(format!("{} is not followed: {:?}", event.feed, event.kind));
        }
        let (epoch, at) = match (&event.logged, &event.kind) {
            (Some(logged), _) => (logged.epoch.clone(), logged.offset - 1),
            (None, EventKind::Gap { before, .. }) => (before.epoch.clone(), before.offset),
            (None, _) => return Err(format!("{:?} is neither logged nor told of a log", event.kind)),
        };
        self.feeds.insert(event.feed.clone(), FeedView::new(epoch, at, None));
        Ok(())
    }

    fn check_number(&mut self, cursor: Cursor, event: &Event) -> Result<(), String> {
        if let Some(last) = self.handed
            && (cursor.epoch != last.epoch || cursor.number <= last.number)
        {
            return Err(format!("{cursor} follows {last}"));
        }
        self.handed = Some(cursor);
        let Some(logged) = &event.logged else { return Ok(()) };
        let what = format!("{} {}/{} {}", event.feed, logged.epoch, logged.offset, key_of(event));
        let known = self.numbered.entry((cursor.epoch, cursor.number)).or_insert_with(|| what.clone());
        if *known != what {
            return Err(format!("number {cursor} carried {known}, now {what}"));
        }
        Ok(())
    }

    /// What it still lacks of a log that ends at `head`, if anything.
    pub(crate) fn lacks(&self, feed: &FeedKey, head: &(LogEpoch, u64)) -> Option<String> {
        let view = self.feeds.get(feed)?;
        if view.untrusted {
            return None;
        }
        if view.epoch != head.0 {
            return Some(format!("{feed}: client in {}, log in {}", view.epoch, head.0));
        }
        if view.position() > head.1 {
            return Some(format!("{feed}: client at {}, log at {}", view.position(), head.1));
        }
        for offset in view.whole_after + 1..=head.1 {
            if self.truth.never_comes(feed, &head.0, offset, &self.user) {
                continue;
            }
            let there = self.truth.newest(feed, &head.0, offset).map(|entry| entry.key);
            if view.seen.get(&offset) != there.as_ref() {
                let seen = view.seen.get(&offset);
                return Some(format!("{feed}: {}/{offset} is {there:?}, the client has {seen:?}", head.0));
            }
        }
        None
    }
}

/// What the client can tell an event by: the message's name, or what else is in its text.
fn key_of(event: &Event) -> String {
    let json = json_of(event);
    match &event.kind {
        EventKind::Message { .. } => json["message"]["message_id"].as_str().unwrap_or("?").to_owned(),
        EventKind::Application => json["data"].as_str().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

fn json_of(event: &Event) -> Value {
    let mut text = b"{".to_vec();
    text.extend_from_slice(&event.body);
    serde_json::from_slice(&text).expect("an event is a JSON object without its brace")
}

/// False if it is a repeat.
fn take_logged(view: &mut FeedView, event: &Event, user: &UserId, truth: &Truth) -> Result<bool, String> {
    let logged = event.logged.as_ref().expect("asked for");
    let (feed, offset) = (&event.feed, logged.offset);
    let mut key = key_of(event);
    if logged.epoch != view.epoch {
        return Err(format!("{feed}: {}/{offset} without a gap after {}", logged.epoch, view.epoch));
    }
    if key.is_empty() {
        // Told apart by its place only.
        key = truth.newest(feed, &logged.epoch, offset).map_or(key, |entry| entry.key);
    }
    if !truth.stood(feed, &logged.epoch, offset, &key) {
        return Err(format!("{feed}: {}/{offset} never was {key}", logged.epoch));
    }
    if let Some(last) = view.last
        && offset <= last
    {
        // Below where it began is what it never had.
        let had = view.seen.contains_key(&offset) || offset <= view.whole_after;
        if had && !view.repeats_may_come && !view.untrusted {
            return Err(format!("{feed}: {offset} repeated after {last}"));
        }
        return Ok(false);
    }
    let after = view.position();
    for missing in after + 1..offset {
        if !view.untrusted && !view.asked && !truth.never_comes(feed, &logged.epoch, missing, user) {
            return Err(format!("{feed}: lost {missing}: {offset} after {after}"));
        }
    }
    if view.asked && offset > after + 1 {
        view.whole_after = offset - 1;
    }
    if view.last.is_none() {
        view.whole_after = view.whole_after.min(offset - 1);
    }
    view.last = Some(offset);
    if !view.asked {
        view.repeats_may_come = false;
    }
    view.seen.insert(offset, key);
    if let EventKind::Message { seq, .. } = event.kind {
        if !truth.is_rewound(feed) && !view.untrusted && view.seq.is_some_and(|known| seq > known + 1) {
            return Err(format!("{feed}: message {seq} after {:?}", view.seq));
        }
        view.seq = Some(view.seq.unwrap_or(0).max(seq));
    }
    Ok(true)
}

fn tell_gap(view: &mut FeedView, event: &Event, user: &UserId, truth: &Truth) -> Result<(), String> {
    let json = json_of(event);
    let feed = &event.feed;
    let number = |name: &str| json[name].as_u64().ok_or_else(|| format!("a gap without {name}: {json}"));
    let (from, to) = (number("from_offset")?, number("to_offset")?);
    let epoch: LogEpoch = json["epoch"].as_str().unwrap_or("").into();
    if !truth.is_damaged() {
        return Err(format!("{feed}: a gap, and nothing is missing: {json}"));
    }
    match json["reason"].as_str() {
        Some("log_reset") => {
            if from != 1 {
                return Err(format!("{feed}: a log begins at 1, not {from}"));
            }
            view.untrusted = false;
            view.epoch = epoch;
            view.seen.clear();
            view.last = Some(to);
            view.whole_after = to;
        }
        Some("trimmed" | "too_far") => {
            if epoch != view.epoch {
                return Err(format!("{feed}: a gap of {epoch} after {}", view.epoch));
            }
            let after = view.position();
            for missing in after + 1..from {
                if !view.untrusted && !truth.never_comes(feed, &epoch, missing, user) {
                    return Err(format!("{feed}: lost {missing}: gap from {from} after {after}"));
                }
            }
            if to > after {
                view.last = Some(to);
                view.whole_after = to;
            }
        }
        _ => return Err(format!("{feed}: no reason: {json}")),
    }
    if json["messages_restored"].as_bool() != Some(true) {
        view.seq = None;
    }
    Ok(())
}
