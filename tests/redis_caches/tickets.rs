//! Tickets, in Redis and in memory.

use std::sync::Arc;
use std::time::Duration;

use edgeway::adapters::outbound::auth::tickets::MemoryTickets;
use edgeway::adapters::outbound::redis::tickets::RedisTickets;
use edgeway::application::ports::auth::{AuthError, Identity, Scopes, TICKET_TTL, TicketStore};
use edgeway::application::ports::clock::ManualClock;
use edgeway::domain::time::UnixMillis;
use futures_util::future::join_all;

use super::ids::user;
use super::server::Redis;

fn alice() -> Identity {
    Identity {
        user_id: user("alice"),
        scopes: Scopes { read: true, write: false },
        expires_at: UnixMillis(u64::MAX),
    }
}

async fn a_ticket_is_good_once_on_any_node(one: &dyn TicketStore, other: &dyn TicketStore) {
    let ticket = one.issue(&alice()).await.unwrap();
    assert!(ticket.len() >= 22 && ticket.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)));
    assert_ne!(ticket, one.issue(&alice()).await.unwrap());
    let redeemed = join_all((0..16).map(|n| if n % 2 == 0 { one } else { other }.redeem(&ticket))).await;
    let (good, bad): (Vec<_>, Vec<_>) = redeemed.into_iter().partition(Result::is_ok);
    assert_eq!(good, [Ok(alice())]);
    assert!(bad.into_iter().all(|refused| refused == Err(AuthError::Unauthorized)));
    for guessed in ["", "guessed", &"A".repeat(32), "*"] {
        assert_eq!(other.redeem(guessed).await, Err(AuthError::Unauthorized));
    }
}

#[tokio::test]
async fn tickets_in_redis_and_in_memory_keep_the_same_promises() {
    let redis = Redis::new().await;
    let other_node = redis.other_node().await;
    let memory = MemoryTickets::new(Arc::new(ManualClock::default()));
    let (one, other) =
        (RedisTickets::new(redis.commands.clone()), RedisTickets::new(other_node.commands.clone()));
    a_ticket_is_good_once_on_any_node(&memory, &memory).await;
    a_ticket_is_good_once_on_any_node(&one, &other).await;
}

#[tokio::test]
async fn a_ticket_expires_and_who_reads_redis_does_not_learn_it() {
    let redis = Redis::new().await;
    let ticket = RedisTickets::new(redis.commands.clone()).issue(&alice()).await.unwrap();
    let all = redis.commands.keys().ticket("*");
    let keys: Vec<String> = redis.commands.query(redis::cmd("KEYS").arg(all)).await.unwrap();
    let [key] = &keys[..] else { panic!("one ticket, not {keys:?}") };
    assert!(!key.contains(&ticket));
    let ttl = redis.ttl(key).await;
    assert!(ttl <= TICKET_TTL && ttl > TICKET_TTL - Duration::from_secs(10));
}

#[tokio::test]
async fn without_redis_there_are_no_tickets() {
    let (commands, _tasks, _stop) = Redis::nowhere().await;
    let tickets = RedisTickets::new(commands);
    assert_eq!(tickets.issue(&alice()).await, Err(AuthError::Unavailable));
    assert_eq!(tickets.redeem(&"A".repeat(32)).await, Err(AuthError::Unavailable));
}
