//! One judge for all faults: it is told what was sent, answered and heard, and says what was promised and not kept.
//!
//! It knows nothing of processes, sockets or clocks; whoever drives a test tells it everything as JSON of the protocol.
//! A [`Witness`] is one simple client: per dialog it remembers the last offset and drops what is not above it. What is
//! checked while events come in is what a client can see for itself: offsets that rise by one, gaps that say what is
//! missing, messages in the Store's order. [`Oracle::judge`] then compares with what the Store has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// Most faults that are told in words.
const FAULTS_TOLD_MAX: usize = 20;

/// Takes down what happens. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Oracle {
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    sends: BTreeMap<(String, String), Sent>,
    witnesses: Vec<Told>,
    faults: Vec<String>,
    /// How often a user's membership in a dialog was changed, by (user, dialog).
    changes: HashMap<(String, String), u64>,
}

/// One `client_message_id` of one user.
struct Sent {
    dialog: String,
    /// Answers that said `ok`: message id and seq.
    accepted: Vec<(String, u64)>,
    /// Refused in a way that says it was not stored.
    refused: bool,
    /// Not answered, or answered by an error that leaves it open.
    open: bool,
    /// One attempt will never be answered: it may have been stored, whatever becomes of a later one.
    lost: bool,
    /// The last answer that was none, for the one who reads about it.
    refusal: String,
}

/// What one client was told.
struct Told {
    name: String,
    user: String,
    dialogs: HashMap<String, Line>,
    /// Offsets that it was not told, by dialog.
    skipped: HashMap<String, u64>,
    repeats: u64,
    gaps: u64,
    messages: u64,
}

/// One dialog of one client.
#[derive(Default)]
struct Line {
    epoch: Option<String>,
    offset: u64,
    /// The highest message `seq` that it has; 0: it knows of none.
    seq: u64,
    /// It has been told something: until then `offset` is where the log's head was when it subscribed, and what came into
    /// the log in that moment may follow.
    begun: bool,
    /// What came with it.
    cursor: String,
    /// A gap stands between the last message and the next.
    gap: bool,
    /// Messages made up for a gap. They may come once more, when the log has them again.
    restored: HashSet<u64>,
    /// The log began anew since: what is in the new one may have been in the old one.
    renewed: bool,
    revoked: bool,
    /// The session was rebuilt, and it has not been told anything new since: it may be told again what it has.
    may_repeat: bool,
}

/// What came of a test, in numbers.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Verdict {
    /// Messages that the Store has.
    pub(crate) stored: usize,
    /// Messages that clients were handed, each counted once per client.
    pub(crate) delivered: u64,
    /// Events that clients dropped since they had them.
    pub(crate) repeats: u64,
    /// Gaps that clients were told.
    pub(crate) gaps: u64,
}

impl Oracle {
    /// A send is about to go out (again).
    pub(crate) fn sending(&self, user: &str, client_message_id: &str, dialog: &str) {
        let mut book = self.book.lock().unwrap();
        let sent =
            book.sends.entry((user.to_owned(), client_message_id.to_owned())).or_insert_with(|| Sent {
                dialog: dialog.to_owned(),
                accepted: Vec::new(),
                refused: false,
                open: true,
                lost: false,
                refusal: String::new(),
            });
        sent.open = true;
    }

    /// A send was answered. Returns whether that is final.
    pub(crate) fn answered(&self, user: &str, client_message_id: &str, reply: &Value) -> bool {
        let mut book = self.book.lock().unwrap();
        let key = (user.to_owned(), client_message_id.to_owned());
        let Some(sent) = book.sends.get_mut(&key) else {
            book.faults.push(format!("{client_message_id} of {user} was answered and never sent"));
            return true;
        };
        if reply["type"] == "ok" {
            let id = reply["message_id"].as_str().unwrap_or_default().to_owned();
            sent.accepted.push((id, reply["seq"].as_u64().unwrap_or_default()));
            sent.open = false;
            let first = sent.accepted[0].clone();
            if sent.accepted.iter().any(|other| *other != first) {
                let accepted = format!("{:?}", sent.accepted);
                book.faults.push(format!("{client_message_id} of {user} has two answers: {accepted}"));
            }
            return true;
        }
        sent.open = reply["unknown_outcome"] == true;
        // So may it after an answer that left it open.
        sent.lost |= sent.open;
        sent.refusal = reply.to_string();
        sent.refused = !sent.open;
        reply["retryable"] != true
    }

    /// The connection ended before a send was answered.
    pub(crate) fn unanswered(&self, user: &str, client_message_id: &str) {
        let mut book = self.book.lock().unwrap();
        if let Some(sent) = book.sends.get_mut(&(user.to_owned(), client_message_id.to_owned())) {
            sent.lost = true;
        }
    }

    /// A client begins.
    pub(crate) fn witness(&self, name: &str, user: &str) -> Witness {
        let mut book = self.book.lock().unwrap();
        book.witnesses.push(Told {
            name: name.to_owned(),
            user: user.to_owned(),
            dialogs: HashMap::new(),
            skipped: HashMap::new(),
            repeats: 0,
            gaps: 0,
            messages: 0,
        });
        Witness { oracle: self.clone(), index: book.witnesses.len() - 1 }
    }

    /// A user's membership in a dialog is about to be changed. In the dialog's own log the user is not told of it, and
    /// may miss one offset for it.
    pub(crate) fn will_change(&self, user: &str, dialog: &str) {
        let mut book = self.book.lock().unwrap();
        *book.changes.entry((user.to_owned(), dialog.to_owned())).or_default() += 1;
    }

    /// Something that only the test itself can see went wrong.
    pub(crate) fn fault(&self, what: String) {
        self.book.lock().unwrap().faults.push(what);
    }

    /// What has gone wrong so far.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.book.lock().unwrap().faults.iter().take(FAULTS_TOLD_MAX).cloned().collect()
    }

    /// Sends that nobody has answered for good, as (user, client message id, dialog).
    pub(crate) fn open_sends(&self) -> Vec<(String, String, String)> {
        let book = self.book.lock().unwrap();
        let open = book.sends.iter().filter(|(_, sent)| sent.open || sent.accepted.is_empty());
        open.map(|((user, id), sent)| (user.clone(), id.clone(), sent.dialog.clone())).collect()
    }

    /// Whether every witness of a dialog, whoever was removed left out, has its message `seq`, or one after it.
    pub(crate) fn all_have(&self, dialog: &str, seq: u64) -> bool {
        let book = self.book.lock().unwrap();
        let lines = book.witnesses.iter().filter_map(|told| told.dialogs.get(dialog));
        lines.filter(|line| !line.revoked).all(|line| line.seq >= seq)
    }

    /// The end: `stored` holds all messages of a dialog as the Store tells them, oldest first. Panics with everything
    /// that went wrong.
    pub(crate) fn judge(&self, stored: &BTreeMap<String, Vec<Value>>) -> Verdict {
        let mut book = self.book.lock().unwrap();
        let mut verdict = Verdict::default();
        let mut faults = Vec::new();
        for (dialog, messages) in stored {
            verdict.stored += messages.len();
            judge_store(dialog, messages, &book.sends, &mut faults);
            let last = messages.len() as u64;
            for told in &book.witnesses {
                let Some(line) = told.dialogs.get(dialog) else { continue };
                if line.seq < last && !line.revoked && !line.gap {
                    faults.push(format!(
                        "{}: {dialog}: messages after {} of {last} are lost",
                        told.name, line.seq
                    ));
                }
            }
        }
        book.faults.append(&mut faults);
        for told in &book.witnesses {
            verdict.delivered += told.messages;
            verdict.repeats += told.repeats;
            verdict.gaps += told.gaps;
        }
        let count = book.faults.len();
        let shown = book.faults[..count.min(FAULTS_TOLD_MAX)].join("\n");
        assert!(count == 0, "{count} faults:\n{shown}\n{verdict:?}");
        verdict
    }
}

/// At most one message for each id, and one for each that was accepted, as it was answered.
fn judge_store(
    dialog: &str,
    messages: &[Value],
    sends: &BTreeMap<(String, String), Sent>,
    faults: &mut Vec<String>,
) {
    let mut found = HashMap::new();
    for (index, message) in messages.iter().enumerate() {
        let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
        if message["seq"] != index as u64 + 1 {
            faults.push(format!("{dialog}: the Store's message {} is {message}", index + 1));
        }
        let key = (text("sender_id"), text("client_message_id"));
        let stored = (text("message_id"), index as u64 + 1);
        if found.insert(key.clone(), stored).is_some() {
            faults.push(format!("{dialog}: {key:?} is stored twice"));
        }
    }
    for (key, sent) in sends.iter().filter(|(_, sent)| sent.dialog == dialog) {
        match (sent.accepted.first(), found.get(key)) {
            (Some(accepted), Some(stored)) if accepted == stored => {}
            (Some(accepted), stored) => {
                faults.push(format!("{dialog}: {key:?} was answered {accepted:?}, the Store has {stored:?}"));
            }
            (None, Some(stored)) if sent.refused && !sent.open && !sent.lost => {
                let refusal = &sent.refusal;
                faults.push(format!(
                    "{dialog}: {key:?} was refused by {refusal}, and the Store has {stored:?}"
                ));
            }
            (None, _) => {}
        }
    }
}

/// One client's word.
#[derive(Clone)]
pub(crate) struct Witness {
    oracle: Oracle,
    index: usize,
}

impl Witness {
    /// It was welcomed, after `new`, `resumed`, `rebuilt` or `expired`.
    pub(crate) fn welcomed(&self, welcome: &Value) {
        let mut book = self.oracle.book.lock().unwrap();
        let told = &mut book.witnesses[self.index];
        if welcome["resume"] == "new" {
            told.dialogs.clear();
        }
        for line in told.dialogs.values_mut() {
            // A rebuilt session that is resumed before it was in step again is still a rebuilt one.
            line.may_repeat |= welcome["resume"] == "rebuilt";
        }
        let entries = welcome["subscribed"]["dialogs"].as_array().cloned().unwrap_or_default();
        drop(book);
        for entry in entries {
            self.subscribed(&entry);
        }
    }

    /// An entry of a `subscribe` reply's `dialogs`: here it begins.
    pub(crate) fn subscribed(&self, entry: &Value) {
        let mut book = self.oracle.book.lock().unwrap();
        let dialog = entry["dialog_id"].as_str().unwrap_or_default().to_owned();
        let line = Line {
            epoch: entry["epoch"].as_str().map(str::to_owned),
            offset: entry["offset"].as_u64().unwrap_or_default(),
            // What the Store has may still be on its way into the log: the first message tells.
            ..Line::default()
        };
        book.witnesses[self.index].dialogs.insert(dialog, line);
    }

    /// An event came. Returns whether it was news: what a client would show.
    pub(crate) fn event(&self, event: &Value) -> bool {
        let mut book = self.oracle.book.lock().unwrap();
        let Book { witnesses, faults, changes, .. } = &mut *book;
        let told = &mut witnesses[self.index];
        let mut blame = |what: &str| faults.push(format!("{}: {what}: {event}", told.name));
        let kind = event["type"].as_str().unwrap_or_default();
        let resumable = event["cursor"].is_string();
        let dialog = event["dialog_id"].as_str().unwrap_or_default();
        let is_own_removal =
            kind == "membership" && event["change"] == "removed" && event["user_id"] == *told.user;
        if !resumable || event["feed"] == "user" {
            if let Some(line) = told.dialogs.get_mut(dialog).filter(|_| resumable && is_own_removal) {
                line.revoked = true;
            }
            return resumable;
        }
        let Some(line) = told.dialogs.get_mut(dialog) else {
            blame("an event of a dialog that it does not follow");
            return false;
        };
        if line.revoked {
            blame("an event after the membership was revoked");
        }
        if kind == "gap" {
            told.gaps += 1;
            line.begun = true;
            line.renewed |= event["reason"] == "log_reset";
            let epoch = event["epoch"].as_str().map(str::to_owned);
            let to = event["to_offset"].as_u64().unwrap_or_default();
            let from = event["from_offset"].as_u64().unwrap_or_default();
            if line.epoch == epoch && event["reason"] != "log_reset" && from > line.offset + 1 {
                blame(&format!("a gap that leaves out what follows {}", line.offset));
            }
            (line.epoch, line.offset) = (epoch, to);
            // What is made up for leaves no hole in the messages.
            line.gap = event["messages_restored"] != true;
            return true;
        }
        if let Some(offset) = event["offset"].as_u64() {
            if !line.begun {
                line.offset = line.offset.min(offset - 1);
            }
            line.begun = true;
            if offset <= line.offset {
                told.repeats += 1;
                if !line.may_repeat {
                    blame(&format!("told again, after {} at {}", line.offset, line.cursor));
                }
                return false;
            }
            let skipped = told.skipped.entry(dialog.to_owned()).or_default();
            *skipped += offset - line.offset - 1;
            let own = (told.user.clone(), dialog.to_owned());
            if offset > line.offset + 1 && *skipped > changes.get(&own).copied().unwrap_or_default() {
                blame(&format!("offset {offset} follows {} without a gap", line.offset));
            }
            line.offset = offset;
            event["cursor"].as_str().unwrap_or_default().clone_into(&mut line.cursor);
            // In step again.
            line.may_repeat = false;
        } else if event["restored"] != true {
            blame("neither an offset nor made up for a gap");
        }
        line.revoked |= is_own_removal;
        if kind == "message_new" {
            told.messages += u64::from(line.message(event, &mut blame));
        }
        true
    }
}

impl Line {
    /// Returns whether a message is news.
    fn message(&mut self, event: &Value, blame: &mut impl FnMut(&str)) -> bool {
        let seq = event["message"]["seq"].as_u64().unwrap_or_default();
        if seq <= self.seq {
            let known = self.restored.contains(&seq) || self.renewed;
            if !known {
                blame(&format!("message {seq} comes after {}", self.seq));
            }
            return false;
        }
        if self.seq > 0 && seq > self.seq + 1 && !self.gap {
            blame(&format!("message {seq} follows {}: something is lost without a gap", self.seq));
        }
        self.seq = seq;
        if event["restored"] == true {
            // More of them may follow: the gap ends with the first event that has an offset.
            self.restored.insert(seq);
        } else {
            self.gap = false;
        }
        true
    }
}
