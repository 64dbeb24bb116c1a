//! Who is in a dialog, for this one node.

use std::cmp::Reverse;

use async_trait::async_trait;
use hashbrown::HashMap;

use super::sharded::{SHARDS, Sharded};
use crate::application::ports::bus::BusError;
use crate::application::ports::presence::{PRESENCE_TTL, PresenceChange, PresenceEntry, PresenceStore};
use crate::domain::ids::{DialogId, SessionId, UserId};
use crate::domain::presence::{Presence, PresenceState};
use crate::domain::time::UnixMillis;

/// Most entries (one per session and dialog); a new one over it is refused as unavailable.
pub const ENTRIES_MAX: usize = 4_000_000;
const ENTRIES_MAX_PER_SHARD: usize = ENTRIES_MAX / SHARDS;

/// A session in a dialog.
struct Entry {
    session: SessionId,
    state: PresenceState,
    expires: UnixMillis,
}

/// A user in a dialog.
struct Visitor {
    entries: Vec<Entry>,
    last_active: UnixMillis,
}

impl Visitor {
    fn state(&self, now: UnixMillis) -> PresenceState {
        let mut states = self.entries.iter().filter(|entry| now < entry.expires).map(|entry| entry.state);
        match states.next() {
            None => PresenceState::Offline,
            Some(PresenceState::Online) => PresenceState::Online,
            Some(_) if states.any(|state| state == PresenceState::Online) => PresenceState::Online,
            Some(_) => PresenceState::Away,
        }
    }

    fn purge(&mut self, now: UnixMillis) {
        self.entries.retain(|entry| now < entry.expires);
    }
}

type Visitors = HashMap<UserId, Visitor>;

/// Drops what has expired; says how many entries are left.
fn purge(visitors: &mut Visitors, now: UnixMillis) -> usize {
    let mut left = 0;
    visitors.retain(|_, visitor| {
        visitor.purge(now);
        left += visitor.entries.len();
        !visitor.entries.is_empty()
    });
    left
}

#[derive(Default)]
struct Dialogs {
    visitors: HashMap<DialogId, Visitors>,
    /// Entries in all dialogs, those included that have expired and were not looked at since.
    entries: usize,
    sweep_at: UnixMillis,
}

impl Dialogs {
    /// Does something with a user's entries, at `now`; says how the user's state changed by it.
    fn change(
        &mut self,
        entry: &PresenceEntry,
        now: UnixMillis,
        act: impl FnOnce(&mut Visitor),
    ) -> PresenceChange {
        let visitors = self.visitors.entry(entry.dialog_id.clone()).or_default();
        let visitor = visitors
            .entry(entry.user_id.clone())
            .or_insert_with(|| Visitor { entries: Vec::new(), last_active: now });
        let held = visitor.entries.len();
        visitor.purge(now);
        let before = visitor.state(now);
        act(visitor);
        let after = visitor.state(now);
        let last_active = visitor.last_active;
        let holds = visitor.entries.len();
        if holds == 0 {
            visitors.remove(&entry.user_id);
            if visitors.is_empty() {
                self.visitors.remove(&entry.dialog_id);
            }
        }
        self.entries = self.entries + holds - held;
        (before != after).then(|| Presence { user_id: entry.user_id.clone(), state: after, last_active })
    }

    /// Drops what has expired in dialogs that nobody looks at.
    fn sweep(&mut self, now: UnixMillis) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now.plus(PRESENCE_TTL);
        self.entries = 0;
        self.visitors.retain(|_, visitors| {
            let left = purge(visitors, now);
            self.entries += left;
            left > 0
        });
    }
}

/// The presence table in the process.
#[derive(Default)]
pub struct MemoryPresence {
    dialogs: Sharded<Dialogs>,
}

impl MemoryPresence {
    /// Nobody is anywhere.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl PresenceStore for MemoryPresence {
    async fn enter(
        &self,
        entry: &PresenceEntry,
        state: PresenceState,
        now: UnixMillis,
    ) -> Result<PresenceChange, BusError> {
        let mut dialogs = self.dialogs.lock(&entry.dialog_id);
        dialogs.sweep(now);
        if dialogs.entries >= ENTRIES_MAX_PER_SHARD {
            return Err(BusError::Unavailable);
        }
        let expires = now.plus(PRESENCE_TTL);
        Ok(dialogs.change(entry, now, |visitor| {
            match visitor.entries.iter_mut().find(|known| known.session == entry.session_id) {
                Some(known) => {
                    if known.state != state {
                        visitor.last_active = now;
                    }
                    known.state = state;
                    known.expires = expires;
                }
                None => {
                    visitor.entries.push(Entry { session: entry.session_id.clone(), state, expires });
                    visitor.last_active = now;
                }
            }
        }))
    }

    async fn leave(&self, entry: &PresenceEntry, now: UnixMillis) -> Result<PresenceChange, BusError> {
        Ok(self.dialogs.lock(&entry.dialog_id).change(entry, now, |visitor| {
            let held = visitor.entries.len();
            visitor.entries.retain(|known| known.session != entry.session_id);
            if visitor.entries.len() < held {
                visitor.last_active = now;
            }
        }))
    }

    /// An entry that has expired lives again, unless it was purged meanwhile.
    async fn heartbeat(&self, entries: &[PresenceEntry], now: UnixMillis) -> Result<(), BusError> {
        let expires = now.plus(PRESENCE_TTL);
        for entry in entries {
            let mut dialogs = self.dialogs.lock(&entry.dialog_id);
            let known = dialogs
                .visitors
                .get_mut(&entry.dialog_id)
                .and_then(|visitors| visitors.get_mut(&entry.user_id))
                .and_then(|visitor| {
                    visitor.entries.iter_mut().find(|known| known.session == entry.session_id)
                });
            if let Some(known) = known {
                known.expires = expires;
            }
        }
        Ok(())
    }

    /// Most recently active first.
    async fn list(
        &self,
        dialog: &DialogId,
        now: UnixMillis,
        limit: usize,
    ) -> Result<Vec<Presence>, BusError> {
        let mut present: Vec<_> = {
            let dialogs = self.dialogs.lock(dialog);
            let Some(visitors) = dialogs.visitors.get(dialog) else { return Ok(Vec::new()) };
            visitors
                .iter()
                .map(|(user, visitor)| Presence {
                    user_id: user.clone(),
                    state: visitor.state(now),
                    last_active: visitor.last_active,
                })
                .filter(|presence| presence.state != PresenceState::Offline)
                .collect()
        };
        present.sort_unstable_by(|a, b| {
            (Reverse(a.last_active), &a.user_id).cmp(&(Reverse(b.last_active), &b.user_id))
        });
        present.truncate(limit);
        Ok(present)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::PresenceState::{Away, Offline, Online};
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn entry(user: &str, session: &str) -> PresenceEntry {
        PresenceEntry {
            dialog_id: dialog(),
            user_id: UserId::parse(user).unwrap(),
            session_id: SessionId::parse(session).unwrap(),
        }
    }

    fn dialog() -> DialogId {
        DialogId::parse("d").unwrap()
    }

    fn after(seconds: u64) -> UnixMillis {
        NOW.plus(Duration::from_secs(seconds))
    }

    async fn enter(
        table: &MemoryPresence,
        user: &str,
        session: &str,
        state: PresenceState,
        now: UnixMillis,
    ) -> Option<PresenceState> {
        table.enter(&entry(user, session), state, now).await.unwrap().map(|presence| presence.state)
    }

    async fn leave(table: &MemoryPresence, session: &str, now: UnixMillis) -> Option<PresenceState> {
        table.leave(&entry("a", session), now).await.unwrap().map(|presence| presence.state)
    }

    async fn listed(table: &MemoryPresence, now: UnixMillis) -> Vec<(String, PresenceState)> {
        let present = table.list(&dialog(), now, 100).await.unwrap();
        present.into_iter().map(|presence| (presence.user_id.to_string(), presence.state)).collect()
    }

    fn held(table: &MemoryPresence) -> (usize, usize) {
        let counted = table.dialogs.each().map(|dialogs| dialogs.entries).sum();
        let there = table.dialogs.each().map(|dialogs| {
            dialogs.visitors.values().flat_map(|users| users.values()).map(|v| v.entries.len()).sum::<usize>()
        });
        (counted, there.sum())
    }

    #[tokio::test]
    async fn the_first_in_and_the_last_out_are_changes() {
        let table = MemoryPresence::new();
        assert_eq!(enter(&table, "a", "s1", Online, NOW).await, Some(Online));
        assert_eq!(enter(&table, "a", "s2", Online, NOW).await, None);
        assert_eq!(leave(&table, "s1", NOW).await, None);
        assert_eq!(leave(&table, "s2", NOW).await, Some(Offline));
        assert_eq!(leave(&table, "s2", NOW).await, None);
        assert_eq!(held(&table), (0, 0));
    }

    #[tokio::test]
    async fn a_user_is_online_while_any_session_is_and_away_when_all_are() {
        let table = MemoryPresence::new();
        assert_eq!(enter(&table, "a", "s1", Away, NOW).await, Some(Away));
        assert_eq!(enter(&table, "a", "s2", Online, NOW).await, Some(Online));
        assert_eq!(enter(&table, "a", "s1", Online, NOW).await, None);
        assert_eq!(enter(&table, "a", "s1", Away, NOW).await, None);
        assert_eq!(enter(&table, "a", "s2", Away, NOW).await, Some(Away));
        assert_eq!(listed(&table, NOW).await, [("a".to_owned(), Away)]);
    }

    #[tokio::test]
    async fn without_a_heartbeat_an_entry_does_not_count_any_more() {
        let table = MemoryPresence::new();
        assert_eq!(enter(&table, "a", "s1", Online, NOW).await, Some(Online));
        table.heartbeat(&[entry("a", "s1"), entry("b", "unknown")], after(30)).await.unwrap();
        assert_eq!(listed(&table, after(74)).await, [("a".to_owned(), Online)]);
        assert!(listed(&table, after(75)).await.is_empty());
        assert_eq!(enter(&table, "a", "s2", Away, after(75)).await, Some(Away));
        assert_eq!(held(&table), (1, 1));
    }

    #[tokio::test]
    async fn what_nobody_looks_at_is_swept() {
        let table = MemoryPresence::new();
        for n in 0..1000 {
            let dialog_id = DialogId::parse(&format!("old{n}")).unwrap();
            let entry = PresenceEntry { dialog_id, ..entry("a", "s1") };
            table.enter(&entry, Online, NOW).await.unwrap();
        }
        assert_eq!(held(&table), (1000, 1000));
        for n in 0..1000 {
            let dialog_id = DialogId::parse(&format!("new{n}")).unwrap();
            let entry = PresenceEntry { dialog_id, ..entry("a", "s1") };
            table.enter(&entry, Online, after(45)).await.unwrap();
        }
        assert_eq!(held(&table), (1000, 1000));
    }

    #[tokio::test]
    async fn the_most_recently_active_are_listed_first_and_no_more_than_asked() {
        let table = MemoryPresence::new();
        enter(&table, "a", "s1", Online, after(1)).await;
        enter(&table, "b", "s2", Online, after(3)).await;
        enter(&table, "c", "s3", Online, after(2)).await;
        let names = |list: Vec<(String, _)>| list.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(listed(&table, after(4)).await), ["b", "c", "a"]);
        enter(&table, "a", "s1", Away, after(4)).await;
        assert_eq!(names(listed(&table, after(4)).await), ["a", "b", "c"]);
        assert_eq!(table.list(&dialog(), after(4), 2).await.unwrap().len(), 2);
    }
}
