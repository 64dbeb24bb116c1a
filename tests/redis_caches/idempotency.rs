//! Who has sent what already, in Redis and in memory.

use std::sync::Arc;
use std::time::Duration;

use edgeway::adapters::outbound::memory::idempotency::MemoryIdempotency;
use edgeway::adapters::outbound::redis::idempotency::{Config, RedisIdempotency};
use edgeway::application::ports::clock::ManualClock;
use edgeway::application::ports::idempotency::{Claim, IdempotencyCache, SENT_TTL, SendReceipt};
use edgeway::domain::ids::MessageId;
use edgeway::domain::time::UnixMillis;
use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::ids::{sent, user};
use super::server::Redis;

const PATIENCE: Duration = Duration::from_secs(20);
const IMPATIENCE: Duration = Duration::from_millis(50);
/// More digits than a double holds, as Lua's numbers are.
const FINGERPRINT: u64 = u64::MAX - 1;

fn receipt(seq: u64) -> SendReceipt {
    SendReceipt {
        message_id: MessageId::parse("m:1").unwrap(),
        seq,
        created_at: UnixMillis(1_785_000_000_123),
    }
}

fn on(redis: &Redis) -> RedisIdempotency {
    RedisIdempotency::new(Config::default(), redis.commands.clone(), redis.tasks.clone())
}

async fn a_repeat_gets_the_same_answer_and_another_body_a_conflict(cache: &dyn IdempotencyCache) {
    let (user_a, id) = (user("a"), sent("1"));
    assert_eq!(cache.claim(&user_a, &id, FINGERPRINT, PATIENCE).await, Claim::Fresh);
    assert_eq!(cache.claim(&user_a, &id, FINGERPRINT - 1, PATIENCE).await, Claim::Conflict);
    cache.complete(&user_a, &id, FINGERPRINT, &receipt(u64::MAX)).await;
    assert_eq!(cache.claim(&user_a, &id, FINGERPRINT, PATIENCE).await, Claim::Done(receipt(u64::MAX)));
    assert_eq!(cache.claim(&user_a, &id, FINGERPRINT - 1, PATIENCE).await, Claim::Conflict);
    assert_eq!(cache.claim(&user("b"), &id, FINGERPRINT - 1, PATIENCE).await, Claim::Fresh);
    cache.release(&user_a, &id);
    assert_eq!(cache.claim(&user_a, &id, FINGERPRINT, PATIENCE).await, Claim::Done(receipt(u64::MAX)));
}

async fn all_who_wait_get_the_answer(one: &dyn IdempotencyCache, other: &dyn IdempotencyCache) {
    let (user, id) = (user("a"), sent("2"));
    assert_eq!(one.claim(&user, &id, 7, PATIENCE).await, Claim::Fresh);
    let waiting =
        join_all((0..4).map(|n| if n % 2 == 0 { one } else { other }.claim(&user, &id, 7, PATIENCE)));
    let answer = receipt(3);
    let (answers, ()) = tokio::join!(waiting, one.complete(&user, &id, 7, &answer));
    assert_eq!(answers, vec![Claim::Done(answer); 4]);
}

async fn one_who_loses_patience_sends_too_and_its_failure_does_not_end_the_first_claim(
    one: &dyn IdempotencyCache,
    other: &dyn IdempotencyCache,
) {
    let (user, id) = (user("a"), sent("3"));
    assert_eq!(one.claim(&user, &id, 7, PATIENCE).await, Claim::Fresh);
    assert_eq!(other.claim(&user, &id, 7, IMPATIENCE).await, Claim::Fresh);
    other.release(&user, &id);
    let third = other.claim(&user, &id, 7, PATIENCE);
    tokio::pin!(third);
    assert!(timeout(5 * IMPATIENCE, &mut third).await.is_err(), "the first is still at it");
    one.release(&user, &id);
    assert_eq!(third.await, Claim::Fresh);
}

#[tokio::test]
async fn sends_in_redis_and_in_memory_are_remembered_alike() {
    let redis = Redis::new().await;
    let memory = MemoryIdempotency::new(Arc::new(ManualClock::at(UnixMillis(1))));
    let other_node = redis.other_node().await;
    let (one, other) = (on(&redis), on(&other_node));
    for (one, other) in [(&memory as &dyn IdempotencyCache, &memory as &dyn IdempotencyCache), (&one, &other)]
    {
        a_repeat_gets_the_same_answer_and_another_body_a_conflict(one).await;
        all_who_wait_get_the_answer(one, other).await;
        one_who_loses_patience_sends_too_and_its_failure_does_not_end_the_first_claim(one, other).await;
    }
}

#[tokio::test]
async fn of_many_nodes_at_once_exactly_one_sends() {
    let redis = Redis::new().await;
    let nodes: Vec<_> = join_all((0..4).map(|_| redis.other_node())).await;
    let caches: Vec<_> = nodes.iter().map(on).collect();
    let (user, id, sends) = (user("a"), sent("1"), std::sync::atomic::AtomicUsize::new(0));
    let claims = join_all((0..32).map(|n| {
        let (cache, user, id, sends) = (&caches[n % caches.len()], &user, &id, &sends);
        async move {
            match cache.claim(user, id, 7, PATIENCE).await {
                Claim::Fresh => {
                    sends.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    cache.complete(user, id, 7, &receipt(3)).await;
                }
                claim => assert_eq!(claim, Claim::Done(receipt(3))),
            }
        }
    }));
    claims.await;
    assert_eq!(sends.into_inner(), 1);
}

#[tokio::test]
async fn a_claim_of_a_node_that_died_ends_soon_and_an_answer_after_ten_minutes() {
    let redis = Redis::new().await;
    let key = redis.commands.keys().sent(&user("a"), &sent("1"));
    let config = Config { claim_ttl: Duration::from_millis(100) };
    let dead = RedisIdempotency::new(config, redis.commands.clone(), redis.tasks.clone());
    let living = on(&redis);
    assert_eq!(dead.claim(&user("a"), &sent("1"), 7, PATIENCE).await, Claim::Fresh);
    assert_eq!(living.claim(&user("a"), &sent("1"), 7, PATIENCE).await, Claim::Fresh);
    let claimed = redis.ttl(&key).await;
    assert!(
        claimed > Duration::from_secs(10) && claimed <= Config::default().claim_ttl,
        "a claim of its own"
    );
    living.complete(&user("a"), &sent("1"), 7, &receipt(3)).await;
    let remembered = redis.ttl(&key).await;
    assert!(remembered <= SENT_TTL && remembered > SENT_TTL / 2);
}

#[tokio::test]
async fn a_claim_taken_back_leaves_nothing() {
    let redis = Redis::new().await;
    let tasks = TaskTracker::new();
    let cache = RedisIdempotency::new(Config::default(), redis.commands.clone(), tasks.clone());
    assert_eq!(cache.claim(&user("a"), &sent("1"), 7, PATIENCE).await, Claim::Fresh);
    cache.release(&user("a"), &sent("1"));
    tasks.close();
    tasks.wait().await;
    assert!(!redis.exists(&redis.commands.keys().sent(&user("a"), &sent("1"))).await);
    assert_eq!(cache.claim(&user("a"), &sent("1"), 8, PATIENCE).await, Claim::Fresh);
}

#[tokio::test]
async fn without_redis_everything_is_sent() {
    let (commands, tasks, _stop) = Redis::nowhere().await;
    let cache = RedisIdempotency::new(Config::default(), commands, tasks);
    for _ in 0..2 {
        assert_eq!(cache.claim(&user("a"), &sent("1"), 7, PATIENCE).await, Claim::Fresh);
    }
    cache.complete(&user("a"), &sent("1"), 7, &receipt(3)).await;
    cache.release(&user("a"), &sent("1"));
}
