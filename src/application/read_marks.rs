//! Read marks on their way to the Store: of many for one user and dialog, only the highest travels.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::ports::store::{CallContext, MessageStore, ReadMark, StoreError};
use crate::domain::ids::{DialogId, UserId};

/// Coalesces calls per (user, dialog): one is under way, those that come meanwhile share the next.
pub struct ReadMarks {
    store: Arc<dyn MessageStore>,
    under_way: Mutex<HashMap<(UserId, DialogId), Arc<Mark>>>,
}

#[derive(Default)]
struct Mark {
    wanted: Mutex<u64>,
    /// The highest `seq` that was asked for, and the answer.
    answered: tokio::sync::Mutex<Option<(u64, ReadMark)>>,
}

impl ReadMarks {
    /// Nothing under way yet.
    #[must_use]
    pub fn new(store: Arc<dyn MessageStore>) -> Self {
        Self { store, under_way: Mutex::default() }
    }

    /// Moves the mark to `seq`, unless it is there already.
    ///
    /// # Errors
    /// [`StoreError`] as the Store said it.
    pub async fn advance(
        &self,
        call: &CallContext,
        dialog: &DialogId,
        seq: u64,
    ) -> Result<ReadMark, StoreError> {
        let key = (call.user_id.clone(), dialog.clone());
        let mark = self.under_way.lock().entry(key.clone()).or_default().clone();
        let wanted = {
            let mut wanted = mark.wanted.lock();
            *wanted = (*wanted).max(seq);
            drop(wanted);
            Using { marks: self, key, mark }
        };
        let mark = &wanted.mark;
        let mut answered = mark.answered.lock().await;
        if let Some((asked, answer)) = *answered
            && asked >= seq
        {
            return Ok(answer);
        }
        let highest = *mark.wanted.lock();
        let answer = self.store.read_upto(call, dialog, highest).await?;
        *answered = Some((highest, answer));
        Ok(answer)
    }
}

/// Forgets the mark with its last user.
struct Using<'a> {
    marks: &'a ReadMarks,
    key: (UserId, DialogId),
    mark: Arc<Mark>,
}

impl Drop for Using<'_> {
    fn drop(&mut self) {
        let mut under_way = self.marks.under_way.lock();
        // The map's and ours.
        if Arc::strong_count(&self.mark) <= 2 {
            under_way.remove(&self.key);
        }
    }
}
