//! What a user may do in a dialog: asked from the Store, remembered for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use super::ports::clock::Clock;
use super::ports::store::{CallContext, MEMBERSHIP_BATCH_MAX, MessageStore, StoreError};
use crate::domain::dialog::Membership;
use crate::domain::ids::{DialogId, UserId};
use crate::domain::time::Tick;

/// How long an answer serves.
pub const FRESH_FOR: Duration = Duration::from_secs(60);
/// How long an answer serves while the Store is down; after that membership fails closed.
pub const STALE_FOR: Duration = Duration::from_secs(5 * 60);
/// Most answers remembered.
pub const MEMBERSHIPS_MAX: usize = 100_000;

/// An answer, and whether the Store gave it just now.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What the user may do.
    pub membership: Membership,
    /// From memory, because the Store does not answer: positions in it are old.
    pub stale: bool,
}

#[derive(Clone)]
struct Remembered {
    membership: Membership,
    at: Tick,
}

/// The Store's answers.
pub struct Memberships {
    store: Arc<dyn MessageStore>,
    clock: Arc<dyn Clock>,
    remembered: Cache<(UserId, DialogId), Remembered>,
    /// How many changes of memberships this node has heard of.
    changes: AtomicU64,
}

impl Memberships {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn MessageStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, remembered: Cache::new(MEMBERSHIPS_MAX), changes: AtomicU64::new(0) }
    }

    /// Asks the Store about many dialogs; the answers come in the order asked. While the Store is down, answers up to
    /// [`STALE_FOR`] old serve.
    ///
    /// # Errors
    /// One [`StoreError`] per dialog that nobody can tell about.
    pub async fn ask(&self, call: &CallContext, dialogs: &[DialogId]) -> Vec<Result<Checked, StoreError>> {
        let mut answers = Vec::with_capacity(dialogs.len());
        for batch in dialogs.chunks(MEMBERSHIP_BATCH_MAX) {
            let changes = self.changes.load(Ordering::Acquire);
            match self.store.check_membership(call, batch).await {
                Ok(found) => {
                    for dialog in batch {
                        let membership = found
                            .iter()
                            .find(|membership| membership.dialog_id == *dialog)
                            .cloned()
                            .unwrap_or_else(|| stranger(dialog));
                        self.remember(&call.user_id, &membership, changes);
                        answers.push(Ok(Checked { membership, stale: false }));
                    }
                }
                Err(error) => answers.extend(batch.iter().map(|dialog| {
                    let known = self.recall(&call.user_id, dialog, STALE_FOR);
                    known.map(|membership| Checked { membership, stale: true }).ok_or(error)
                })),
            }
        }
        answers
    }

    /// What the user may do in one dialog: from memory, if that is fresh.
    ///
    /// # Errors
    /// [`StoreError`] when nobody can tell.
    pub async fn of(&self, call: &CallContext, dialog: &DialogId) -> Result<Membership, StoreError> {
        if let Some(known) = self.recall(&call.user_id, dialog, FRESH_FOR) {
            return Ok(known);
        }
        let mut answers = self.ask(call, std::slice::from_ref(dialog)).await;
        answers.pop().unwrap_or(Err(StoreError::Internal)).map(|checked| checked.membership)
    }

    /// Forgets an answer: the membership has changed.
    pub fn forget(&self, user: &UserId, dialog: &DialogId) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.remembered.remove(&(user.clone(), dialog.clone()));
    }

    /// An answer to a question that was asked before something changed may be of before, too: it is not kept.
    fn remember(&self, user: &UserId, membership: &Membership, changes_when_asked: u64) {
        if self.changes.load(Ordering::Acquire) != changes_when_asked {
            return;
        }
        let key = (user.clone(), membership.dialog_id.clone());
        self.remembered.insert(key, Remembered { membership: membership.clone(), at: self.clock.tick() });
    }

    fn recall(&self, user: &UserId, dialog: &DialogId, for_at_most: Duration) -> Option<Membership> {
        let known = self.remembered.get(&(user.clone(), dialog.clone()))?;
        (self.clock.tick().since(known.at) <= for_at_most).then_some(known.membership)
    }
}

fn stranger(dialog: &DialogId) -> Membership {
    Membership {
        dialog_id: dialog.clone(),
        member: false,
        can_read: false,
        can_write: false,
        role: "".into(),
        version: 0,
        last_message_seq: 0,
        read_seq: 0,
        member_count: 0,
    }
}
