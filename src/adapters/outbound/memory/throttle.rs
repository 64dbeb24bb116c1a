//! At most one "typing" in a while, for this one node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hashlink::LinkedHashMap;

use super::sharded::{SHARDS, Sharded};
use crate::application::ports::clock::Clock;
use crate::application::ports::throttle::TypingThrottle;
use crate::domain::ids::{DialogId, UserId};
use crate::domain::time::Tick;

/// Most (user, dialog) pairs that are remembered; over it, the oldest may type again early.
pub const TYPISTS_MAX: usize = 100_000;
const TYPISTS_MAX_PER_SHARD: usize = TYPISTS_MAX / SHARDS;

/// How often a user may begin to type.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// One `typing started` passes in this time.
    pub interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { interval: Duration::from_secs(3) }
    }
}

/// Who began to type when, in that order: what is past the interval lies in front.
type Typists = LinkedHashMap<(UserId, DialogId), Tick>;

/// Throttles typing in the process.
pub struct MemoryTypingThrottle {
    config: Config,
    clock: Arc<dyn Clock>,
    typists: Sharded<Typists>,
}

impl MemoryTypingThrottle {
    /// Nobody has typed yet.
    #[must_use]
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, typists: Sharded::default() }
    }
}

#[async_trait]
impl TypingThrottle for MemoryTypingThrottle {
    async fn pass(&self, user: &UserId, dialog: &DialogId) -> bool {
        let now = self.clock.tick();
        let past = |began: &Tick| now.since(*began) >= self.config.interval;
        let key = (user.clone(), dialog.clone());
        let mut typists = self.typists.lock(&key);
        while typists.front().is_some_and(|(_, began)| past(began)) {
            typists.pop_front();
        }
        if typists.get(&key).is_some_and(|began| !past(began)) {
            return false;
        }
        if typists.len() >= TYPISTS_MAX_PER_SHARD {
            typists.pop_front();
        }
        typists.insert(key, now);
        true
    }

    async fn reset(&self, user: &UserId, dialog: &DialogId) {
        let key = (user.clone(), dialog.clone());
        self.typists.lock(&key).remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::clock::ManualClock;

    fn throttle() -> (Arc<ManualClock>, MemoryTypingThrottle) {
        let clock = Arc::new(ManualClock::default());
        (clock.clone(), MemoryTypingThrottle::new(Config::default(), clock))
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn dialog(name: &str) -> DialogId {
        DialogId::parse(name).unwrap()
    }

    #[tokio::test]
    async fn one_passes_per_user_dialog_and_interval() {
        let (clock, throttle) = throttle();
        assert!(throttle.pass(&user("a"), &dialog("d")).await);
        assert!(throttle.pass(&user("b"), &dialog("d")).await);
        assert!(throttle.pass(&user("a"), &dialog("e")).await);
        clock.advance(Duration::from_millis(2999));
        assert!(!throttle.pass(&user("a"), &dialog("d")).await);
        clock.advance(Duration::from_millis(1));
        assert!(throttle.pass(&user("a"), &dialog("d")).await);
        assert!(!throttle.pass(&user("a"), &dialog("d")).await);
    }

    #[tokio::test]
    async fn after_a_reset_the_next_one_passes() {
        let (_, throttle) = throttle();
        assert!(throttle.pass(&user("a"), &dialog("d")).await);
        throttle.reset(&user("a"), &dialog("d")).await;
        assert!(throttle.pass(&user("a"), &dialog("d")).await);
    }

    #[tokio::test]
    async fn it_is_bounded_and_forgets_what_is_past() {
        let (clock, throttle) = throttle();
        let held = |throttle: &MemoryTypingThrottle| throttle.typists.each().map(|t| t.len()).sum::<usize>();
        for n in 0..2 * TYPISTS_MAX {
            assert!(throttle.pass(&user(&n.to_string()), &dialog("d")).await);
        }
        assert!(held(&throttle) <= TYPISTS_MAX);
        clock.advance(Duration::from_secs(3));
        for n in 0..100 * SHARDS {
            throttle.pass(&user(&n.to_string()), &dialog("d")).await;
        }
        assert_eq!(held(&throttle), 100 * SHARDS);
    }
}
