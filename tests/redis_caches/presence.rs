//! Who is in a dialog, in Redis and in memory.

use std::time::Duration;

use PresenceState::{Away, Offline, Online};
use edgeway::adapters::outbound::memory::presence::MemoryPresence;
use edgeway::adapters::outbound::redis::presence::RedisPresence;
use edgeway::application::ports::bus::BusError;
use edgeway::application::ports::presence::{PRESENCE_TTL, PresenceEntry, PresenceStore};
use edgeway::domain::presence::PresenceState;
use edgeway::domain::time::UnixMillis;
use futures_util::future::join_all;

use super::ids::{dialog, session, user};
use super::server::Redis;

const NOW: UnixMillis = UnixMillis(1_785_000_000_123);

/// A table, and the dialog that the test is in.
struct Table<'a>(&'a dyn PresenceStore, &'static str);

fn after(seconds: u64) -> UnixMillis {
    NOW.plus(Duration::from_secs(seconds))
}

impl Table<'_> {
    fn entry(&self, who: &str, which: &str) -> PresenceEntry {
        PresenceEntry { dialog_id: dialog(self.1), user_id: user(who), session_id: session(which) }
    }

    async fn enter(
        &self,
        who: &str,
        which: &str,
        state: PresenceState,
        now: UnixMillis,
    ) -> Option<PresenceState> {
        let change = self.0.enter(&self.entry(who, which), state, now).await.unwrap();
        change.map(|presence| {
            assert_eq!((presence.user_id.as_str(), presence.last_active), (who, now));
            presence.state
        })
    }

    async fn leave(&self, who: &str, which: &str, now: UnixMillis) -> Option<PresenceState> {
        self.0.leave(&self.entry(who, which), now).await.unwrap().map(|presence| presence.state)
    }

    async fn list(&self, now: UnixMillis, limit: usize) -> Vec<(String, PresenceState, u64)> {
        let listed = self.0.list(&dialog(self.1), now, limit).await.unwrap();
        listed
            .into_iter()
            .map(|here| (here.user_id.to_string(), here.state, (here.last_active.0 - NOW.0) / 1000))
            .collect()
    }
}

fn named(list: &[(&str, PresenceState, u64)]) -> Vec<(String, PresenceState, u64)> {
    list.iter().map(|(name, state, at)| ((*name).to_owned(), *state, *at)).collect()
}

async fn the_first_in_and_the_last_out_are_changes(table: Table<'_>) {
    assert_eq!(table.leave("a", "s1", NOW).await, None);
    assert_eq!(table.enter("a", "s1", Online, NOW).await, Some(Online));
    assert_eq!(table.enter("a", "s1", Online, NOW).await, None);
    assert_eq!(table.enter("a", "s2", Online, NOW).await, None);
    assert_eq!(table.enter("b", "s3", Online, NOW).await, Some(Online));
    assert_eq!(table.leave("a", "s1", NOW).await, None);
    assert_eq!(table.leave("a", "s2", NOW).await, Some(Offline));
    assert_eq!(table.leave("a", "s2", NOW).await, None);
    assert_eq!(table.list(NOW, 100).await, named(&[("b", Online, 0)]));
}

async fn a_user_is_online_while_any_session_is_and_away_when_all_are(table: Table<'_>) {
    assert_eq!(table.enter("a", "s1", Away, NOW).await, Some(Away));
    assert_eq!(table.enter("a", "s2", Online, after(1)).await, Some(Online));
    assert_eq!(table.enter("a", "s1", Online, after(2)).await, None);
    assert_eq!(table.enter("a", "s1", Away, after(3)).await, None);
    assert_eq!(table.enter("a", "s2", Away, after(4)).await, Some(Away));
    assert_eq!(table.enter("a", "s2", Away, after(5)).await, None);
    assert_eq!(table.list(after(5), 100).await, named(&[("a", Away, 4)]));
}

async fn without_a_heartbeat_an_entry_does_not_count_any_more(table: Table<'_>) {
    assert_eq!(table.enter("a", "s1", Online, NOW).await, Some(Online));
    let known_and_unknown = [table.entry("a", "s1"), table.entry("b", "x"), table.entry("a", "x")];
    table.0.heartbeat(&known_and_unknown, after(30)).await.unwrap();
    assert_eq!(table.list(after(74), 100).await, named(&[("a", Online, 0)]));
    assert_eq!(table.leave("a", "x", after(75)).await, None);
    assert_eq!(table.list(after(75), 100).await, []);
    assert_eq!(table.enter("a", "s2", Away, after(75)).await, Some(Away));
}

async fn the_most_recently_active_are_listed_first_and_no_more_than_asked(table: Table<'_>) {
    table.enter("a", "s1", Online, after(1)).await;
    table.enter("b", "s2", Online, after(3)).await;
    table.enter("c", "s3", Online, after(2)).await;
    table.enter("d", "s4", Online, after(2)).await;
    let all = named(&[("b", Online, 3), ("c", Online, 2), ("d", Online, 2), ("a", Online, 1)]);
    assert_eq!(table.list(after(4), 100).await, all);
    assert_eq!(table.list(after(4), 2).await, all[..2]);
    table.enter("a", "s1", Away, after(4)).await;
    assert_eq!(table.list(after(4), 1).await, named(&[("a", Away, 4)]));
}

#[tokio::test]
async fn presence_in_redis_and_in_memory_keeps_the_same_promises() {
    let redis = Redis::new().await;
    let (in_memory, in_redis) = (MemoryPresence::new(), RedisPresence::new(redis.commands.clone()));
    for store in [&in_memory as &dyn PresenceStore, &in_redis] {
        the_first_in_and_the_last_out_are_changes(Table(store, "d1")).await;
        a_user_is_online_while_any_session_is_and_away_when_all_are(Table(store, "d2")).await;
        without_a_heartbeat_an_entry_does_not_count_any_more(Table(store, "d3")).await;
        the_most_recently_active_are_listed_first_and_no_more_than_asked(Table(store, "d4")).await;
    }
}

#[tokio::test]
async fn of_many_nodes_at_once_exactly_one_is_told_of_the_first_in_and_the_last_out() {
    let redis = Redis::new().await;
    let nodes: Vec<_> = join_all((0..4).map(|_| redis.other_node())).await;
    let stores: Vec<_> = nodes.iter().map(|node| RedisPresence::new(node.commands.clone())).collect();
    let all = || (0..64).map(|n| (&stores[n % stores.len()], format!("s{n}")));
    let entered = join_all(
        all().map(|(store, which)| async move { Table(store, "d").enter("a", &which, Online, NOW).await }),
    );
    assert_eq!(entered.await.into_iter().flatten().collect::<Vec<_>>(), [Online]);
    let left =
        join_all(all().map(|(store, which)| async move { Table(store, "d").leave("a", &which, NOW).await }));
    assert_eq!(left.await.into_iter().flatten().collect::<Vec<_>>(), [Offline]);
}

#[tokio::test]
async fn a_dialog_that_all_have_left_is_forgotten_and_one_that_nobody_keeps_alive_expires() {
    let redis = Redis::new().await;
    let store = RedisPresence::new(redis.commands.clone());
    let (table, key) = (Table(&store, "d"), redis.commands.keys().presence(&dialog("d")));
    table.enter("a", "s1", Online, NOW).await;
    let ttl = redis.ttl(&key).await;
    assert!(ttl > PRESENCE_TTL && ttl <= 2 * PRESENCE_TTL);
    table.leave("a", "s1", NOW).await;
    assert!(!redis.exists(&key).await);
}

#[tokio::test]
async fn what_nobody_looks_at_is_swept() {
    let redis = Redis::new().await;
    let store = RedisPresence::new(redis.commands.clone());
    let (table, key) = (Table(&store, "d"), redis.commands.keys().presence(&dialog("d")));
    for n in 0..100 {
        table.enter(&format!("old{n}"), "s", Online, NOW).await;
    }
    table.enter("new", "s", Online, after(45)).await;
    let fields: usize = redis.commands.query(redis::cmd("HLEN").arg(&key)).await.unwrap();
    assert_eq!(fields, 2, "the one who is there, and when to sweep again");
}

#[tokio::test]
async fn a_node_keeps_many_entries_in_many_dialogs_alive() {
    let redis = Redis::new().await;
    let store = RedisPresence::new(redis.commands.clone());
    let entries: Vec<_> = (0..2000)
        .map(|n| PresenceEntry {
            dialog_id: dialog(if n < 1200 { "large".to_owned() } else { format!("d{n}") }.as_str()),
            user_id: user(&format!("u{n}")),
            session_id: session(&format!("s{n}")),
        })
        .collect();
    for entries in entries.chunks(100) {
        for entered in join_all(entries.iter().map(|entry| store.enter(entry, Online, NOW))).await {
            entered.unwrap();
        }
    }
    store.heartbeat(&entries, after(40)).await.unwrap();
    assert_eq!(store.list(&dialog("large"), after(80), 5000).await.unwrap().len(), 1200);
    assert_eq!(store.list(&dialog("d1999"), after(80), 5000).await.unwrap().len(), 1);
}

#[tokio::test]
async fn without_redis_nothing_is_said_about_presence() {
    let (commands, _tasks, _stop) = Redis::nowhere().await;
    let store = RedisPresence::new(commands);
    let entry = Table(&store, "d").entry("a", "s1");
    assert_eq!(store.enter(&entry, Online, NOW).await, Err(BusError::Unavailable));
    assert_eq!(store.heartbeat(&[entry], NOW).await, Err(BusError::Unavailable));
}
