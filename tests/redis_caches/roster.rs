//! Which sessions each user has, in Redis and in memory.

use std::sync::Arc;
use std::time::Duration;

use edgeway::adapters::outbound::memory::roster::{Config as MemoryConfig, MemoryRoster};
use edgeway::adapters::outbound::redis::roster::{Config, RedisRoster};
use edgeway::application::ports::clock::ManualClock;
use edgeway::application::ports::lifecycle::SessionTurn;
use edgeway::application::ports::roster::{Entered, RosterStep, SessionRoster, Step};
use edgeway::domain::ids::{DeviceId, SessionId};
use edgeway::domain::time::UnixMillis;
use edgeway::session::reader::Transport;

use super::ids::{session, user};
use super::server::Redis;

const RESUME: Duration = Duration::from_secs(60);

fn in_redis(redis: &Redis, node: &str, resume_window: Duration) -> RedisRoster {
    RedisRoster::new(Config { node: node.to_owned(), resume_window }, redis.commands.clone())
}

fn in_memory() -> MemoryRoster {
    let config = MemoryConfig { node: "n1".to_owned(), resume_window: RESUME };
    MemoryRoster::new(config, Arc::new(ManualClock::default()))
}

fn step(name: &str, generation: u32, step: Step) -> RosterStep {
    RosterStep {
        step,
        user_id: user("a"),
        session_id: session(name),
        generation,
        device_id: Some(DeviceId::parse("phone").unwrap()),
        transport: Some(Transport::Sse),
        token: fastrand::u64(1..),
        at: UnixMillis(1),
    }
}

fn turn(name: &str, generation: u32, turn: SessionTurn) -> RosterStep {
    step(name, generation, Step::Turn(turn))
}

use SessionTurn::{Attached, Detached, Ended};

async fn a_turn_is_a_change_once(roster: &dyn SessionRoster) {
    let note = |steps: Vec<RosterStep>| async move { roster.note(&steps).await.unwrap() };
    assert_eq!(note(vec![turn("s1", 1, Detached), turn("s1", 1, Ended)]).await, [None, None], "never read");
    assert_eq!(note(vec![turn("s1", 1, Attached), turn("s1", 1, Attached)]).await, [Some(0), None]);
    assert_eq!(note(vec![turn("s2", 7, Attached)]).await, [Some(1)]);
    let detached = turn("s1", 1, Detached);
    assert_eq!(note(vec![detached.clone()]).await, [Some(1)]);
    assert_eq!(note(vec![detached]).await, [Some(1)], "the same step, told again");
    assert_eq!(note(vec![turn("s1", 1, Detached)]).await, [None]);
    assert_eq!(note(vec![turn("s2", 7, Ended), turn("s2", 7, Ended)]).await, [Some(0), None]);
    assert_eq!(note(vec![turn("s2", 7, Attached)]).await, [Some(0)], "rebuilt");
}

async fn what_an_earlier_generation_says_is_no_change(roster: &dyn SessionRoster) {
    let note = |steps: Vec<RosterStep>| async move { roster.note(&steps).await.unwrap() };
    assert_eq!(note(vec![turn("s", 1, Attached), turn("s", 2, Attached)]).await, [Some(0), None]);
    let old = vec![turn("s", 1, Detached), step("s", 1, Step::Left), turn("s", 1, Ended)];
    assert_eq!(note(old).await, [None; 3]);
    assert_eq!(note(vec![turn("s", 2, Detached), turn("s", u32::MAX, Ended)]).await, [Some(0), Some(0)]);
}

async fn a_user_has_so_many_sessions(roster: &dyn SessionRoster) {
    let enter =
        |name: &'static str| async move { roster.enter(&user("a"), &session(name), 1, 2).await.unwrap() };
    let full = Entered::Full { nodes: vec!["n1".to_owned()] };
    assert_eq!(enter("s1").await, Entered::Yes);
    assert_eq!(enter("s2").await, Entered::Yes);
    assert_eq!(enter("s2").await, Entered::Yes, "it counts already");
    assert_eq!(enter("s3").await, full);
    assert_eq!(roster.enter(&user("b"), &session("s3"), 1, 2).await, Ok(Entered::Yes), "another user's");
    roster.note(&[turn("s1", 1, Attached), turn("s1", 1, Detached)]).await.unwrap();
    assert_eq!(enter("s3").await, full, "it may be resumed");
    assert_eq!(roster.note(&[turn("s2", 1, Ended)]).await, Ok(vec![None]), "nobody has ever read it");
    assert_eq!(enter("s3").await, Entered::Yes);
    roster.note(&[turn("s1", 1, Ended)]).await.unwrap();
    assert_eq!(enter("s4").await, Entered::Yes);
}

#[tokio::test]
async fn rosters_in_redis_and_in_memory_keep_the_same_promises() {
    for n in 0..2 {
        let redis = Redis::new().await;
        let fresh = || -> Box<dyn SessionRoster> {
            if n == 0 { Box::new(in_memory()) } else { Box::new(in_redis(&redis, "n1", RESUME)) }
        };
        let key = redis.commands.keys().sessions(&user("a"));
        a_turn_is_a_change_once(&*fresh()).await;
        redis.expire(&key).await;
        what_an_earlier_generation_says_is_no_change(&*fresh()).await;
        redis.expire(&key).await;
        a_user_has_so_many_sessions(&*fresh()).await;
    }
}

#[tokio::test]
async fn what_nobody_reads_counts_until_it_can_not_be_resumed() {
    let redis = Redis::new().await;
    let roster = in_redis(&redis, "n1", Duration::ZERO);
    roster.note(&[turn("s1", 1, Attached), turn("s1", 1, Detached)]).await.unwrap();
    for name in ["s2", "s3"] {
        assert_eq!(roster.enter(&user("a"), &session(name), 1, 1).await, Ok(Entered::Yes), "{name}");
    }
}

#[tokio::test]
async fn two_nodes_together_enter_no_more_than_there_may_be() {
    const LIMIT: usize = 5;
    let redis = Redis::new().await;
    let other_node = redis.other_node().await;
    let nodes = [in_redis(&redis, "n1", RESUME), in_redis(&other_node, "n2", RESUME)];
    let names: Vec<SessionId> = (0..20).map(|n| session(&format!("s{n}"))).collect();
    let owner = user("a");
    let entering = names.iter().enumerate().map(|(n, name)| nodes[n % 2].enter(&owner, name, 1, LIMIT));
    let entered = futures_util::future::join_all(entering).await;
    assert!(entered.iter().all(Result::is_ok), "{entered:?}");
    assert_eq!(entered.iter().filter(|entered| **entered == Ok(Entered::Yes)).count(), LIMIT);
}

#[tokio::test]
async fn sessions_of_a_dead_node_are_taken_out_by_one_alone() {
    const SESSIONS: usize = 300;
    let redis = Redis::new().await;
    let (dead, one) = (in_redis(&redis, "n1", RESUME), in_redis(&redis, "n2", RESUME));
    let other_node = redis.other_node().await;
    let other = in_redis(&other_node, "n3", RESUME);
    let of = |n: usize, generation, turned| RosterStep {
        user_id: user(&format!("u{}", n / 10)),
        ..turn(&format!("s{n}"), generation, turned)
    };
    let steps: Vec<RosterStep> = (0..SESSIONS).map(|n| of(n, 1, Attached)).collect();
    dead.note(&steps).await.unwrap();
    dead.enter(&user("b"), &session("never-read"), 1, 9).await.unwrap();
    // One has moved, one is over: neither is the dead node's any more.
    one.note(&[of(0, 2, Attached)]).await.unwrap();
    dead.note(&[of(1, 1, Ended)]).await.unwrap();
    dead.beat().await.unwrap();
    one.beat().await.unwrap();
    assert_eq!(one.reap().await, Ok(vec![]), "it has just been heard of");
    let nodes = redis.commands.keys().nodes();
    redis.commands.query::<()>(redis::cmd("ZADD").arg(&nodes).arg(1).arg("n1")).await.unwrap();

    let mut reaped = Vec::new();
    loop {
        let (by_one, by_other) = tokio::join!(one.reap(), other.reap());
        let some = [by_one.unwrap(), by_other.unwrap()].concat();
        if some.is_empty() {
            break;
        }
        reaped.extend(some);
    }
    assert_eq!(reaped.len(), SESSIONS - 2);
    let first = &reaped[0];
    assert_eq!((&*first.node, first.transport), ("n1", Some(Transport::Sse)));
    assert_eq!(first.device_id, DeviceId::parse("phone").ok());
    let mut names: Vec<&SessionId> = reaped.iter().map(|one| &one.session_id).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), SESSIONS - 2, "each once");
    assert!(!redis.exists(&redis.commands.keys().sessions_of_node("n1")).await);
    let left: Vec<String> =
        redis.commands.query(redis::cmd("ZRANGE").arg(&nodes).arg(0).arg(-1)).await.unwrap();
    assert_eq!(left, ["n2"]);
}

#[tokio::test]
async fn a_node_that_says_farewell_is_given_time() {
    let redis = Redis::new().await;
    let (leaving, other) = (in_redis(&redis, "n1", RESUME), in_redis(&redis, "n2", RESUME));
    leaving.note(&[turn("s", 1, Attached)]).await.unwrap();
    leaving.farewell(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(other.reap().await, Ok(vec![]));
    let reaped = other.reap_user(&user("a"), "n1").await.unwrap();
    assert_eq!(reaped.len(), 1, "whoever knows better need not wait");
}
