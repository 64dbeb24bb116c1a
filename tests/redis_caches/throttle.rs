//! The typing throttle, in Redis and in memory.

use std::sync::Arc;
use std::time::Duration;

use edgeway::adapters::outbound::memory;
use edgeway::adapters::outbound::memory::throttle::MemoryTypingThrottle;
use edgeway::adapters::outbound::redis::throttle::{Config, RedisTypingThrottle};
use edgeway::application::ports::clock::ManualClock;
use edgeway::application::ports::throttle::TypingThrottle;

use super::ids::{dialog, user};
use super::server::Redis;

async fn one_passes_per_user_and_dialog_until_a_reset(one: &dyn TypingThrottle, other: &dyn TypingThrottle) {
    assert!(one.pass(&user("a"), &dialog("d")).await);
    assert!(!other.pass(&user("a"), &dialog("d")).await);
    assert!(other.pass(&user("b"), &dialog("d")).await);
    assert!(other.pass(&user("a"), &dialog("e")).await);
    other.reset(&user("a"), &dialog("d")).await;
    assert!(one.pass(&user("a"), &dialog("d")).await);
    assert!(!one.pass(&user("a"), &dialog("e")).await);
}

#[tokio::test]
async fn typing_is_throttled_in_redis_and_in_memory_alike() {
    let redis = Redis::new().await;
    let other_node = redis.other_node().await;
    let config = memory::throttle::Config::default();
    let memory = MemoryTypingThrottle::new(config, Arc::new(ManualClock::default()));
    // Long enough for a test that is held up.
    let config = Config { interval: Duration::from_secs(60) };
    let one = RedisTypingThrottle::new(config, redis.commands.clone());
    let other = RedisTypingThrottle::new(config, other_node.commands.clone());
    one_passes_per_user_and_dialog_until_a_reset(&memory, &memory).await;
    one_passes_per_user_and_dialog_until_a_reset(&one, &other).await;
}

#[tokio::test]
async fn after_three_seconds_the_next_one_passes() {
    let redis = Redis::new().await;
    let throttle = RedisTypingThrottle::new(Config::default(), redis.commands.clone());
    assert!(throttle.pass(&user("a"), &dialog("d")).await);
    let key = redis.commands.keys().typing(&user("a"), &dialog("d"));
    let ttl = redis.ttl(&key).await;
    assert!(ttl > Duration::from_secs(1) && ttl <= Duration::from_secs(3));
    redis.expire(&key).await;
    assert!(throttle.pass(&user("a"), &dialog("d")).await);
}

#[tokio::test]
async fn without_redis_nothing_passes() {
    let (commands, _tasks, _stop) = Redis::nowhere().await;
    let throttle = RedisTypingThrottle::new(Config::default(), commands);
    throttle.reset(&user("a"), &dialog("d")).await;
    assert!(!throttle.pass(&user("a"), &dialog("d")).await);
}
