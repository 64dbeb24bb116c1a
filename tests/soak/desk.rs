//! What a client has to send (again), and what waits for an answer.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use crate::harness::client::send;
use crate::harness::names::unique;
use crate::oracle::Oracle;
use crate::traffic::Tally;

/// A message that is not answered for good yet.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    id: String,
    dialog: String,
}

/// One client's sends.
#[derive(Default)]
pub(crate) struct Desk {
    due: VecDeque<Pending>,
    /// By `ref`.
    waiting: HashMap<String, Pending>,
}

impl Desk {
    pub(crate) fn len(&self) -> usize {
        self.due.len() + self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A new message to a dialog.
    pub(crate) fn write(&mut self, dialog: &str, tally: &Tally) {
        tally.open.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.due.push_back(Pending { id: unique("c"), dialog: dialog.to_owned() });
    }

    /// The next command to send, which waits for its answer from now on.
    pub(crate) fn next(&mut self, user: &str, oracle: &Oracle) -> Option<Value> {
        let pending = self.due.pop_front()?;
        oracle.sending(user, &pending.id, &pending.dialog);
        let mut command = send(&pending.dialog, &pending.id, &format!("text of {}", pending.id));
        let its_ref = unique("send");
        command["ref"] = json!(its_ref);
        self.waiting.insert(its_ref, pending);
        Some(command)
    }

    /// Takes an answer, unless it is to something else than a send.
    pub(crate) fn answered(
        &mut self,
        its_ref: &str,
        reply: &Value,
        user: &str,
        oracle: &Oracle,
        tally: &Tally,
    ) {
        let Some(pending) = self.waiting.remove(its_ref) else { return };
        if oracle.answered(user, &pending.id, reply) {
            tally.open.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            tally.sent(reply);
        } else {
            self.due.push_back(pending);
        }
    }

    /// Nobody will answer this one any more: it is sent again.
    pub(crate) fn unanswered(&mut self, its_ref: &str, user: &str, oracle: &Oracle) {
        if let Some(pending) = self.waiting.remove(its_ref) {
            oracle.unanswered(user, &pending.id);
            self.due.push_back(pending);
        }
    }

    /// Nobody will answer any more.
    pub(crate) fn all_unanswered(&mut self, user: &str, oracle: &Oracle) {
        for (_, pending) in self.waiting.drain() {
            oracle.unanswered(user, &pending.id);
            self.due.push_back(pending);
        }
    }
}
