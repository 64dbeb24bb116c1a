//! Who has sent what already, remembered in the process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hashbrown::HashMap;
use hashlink::LinkedHashMap;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::sharded::{SHARDS, Sharded};
use crate::application::ports::clock::Clock;
use crate::application::ports::idempotency::{Claim, IdempotencyCache, SENT_TTL, SendReceipt};
use crate::domain::ids::{ClientMessageId, UserId};
use crate::domain::time::UnixMillis;

/// Most sends that are remembered, open and answered; the answers that are oldest go first.
pub const SENDS_MAX: usize = 100_000;
const SENDS_MAX_PER_SHARD: usize = SENDS_MAX / SHARDS;

type SendKey = (UserId, ClientMessageId);

/// A send that is under way.
struct Open {
    fingerprint: u64,
    /// Who may still answer: the first claimant, and whoever lost patience and sends, too.
    claimants: u32,
    since: UnixMillis,
    ended: Arc<Notify>,
}

/// A send that was answered.
struct Done {
    fingerprint: u64,
    receipt: SendReceipt,
    at: UnixMillis,
}

#[derive(Default)]
struct Sends {
    open: HashMap<SendKey, Open>,
    /// In the order of the answers.
    done: LinkedHashMap<SendKey, Done>,
}

enum Look {
    Known(Claim),
    Underway(OwnedNotified),
}

impl Sends {
    fn claim(&mut self, key: &SendKey, fingerprint: u64, now: UnixMillis) -> Look {
        self.forget_old(now);
        if let Some(done) = self.done.get(key).filter(|done| now < done.at.plus(SENT_TTL)) {
            let same = done.fingerprint == fingerprint;
            return Look::Known(if same { Claim::Done(done.receipt.clone()) } else { Claim::Conflict });
        }
        if let Some(open) = self.open.get(key).filter(|open| now < open.since.plus(SENT_TTL)) {
            if open.fingerprint != fingerprint {
                return Look::Known(Claim::Conflict);
            }
            // Registered before the lock is left: an end that comes now is not missed.
            return Look::Underway(open.ended.clone().notified_owned());
        }
        if self.make_room() {
            let open = Open { fingerprint, claimants: 1, since: now, ended: Arc::default() };
            if let Some(overdue) = self.open.insert(key.clone(), open) {
                overdue.ended.notify_waiters();
            }
        }
        Look::Known(Claim::Fresh)
    }

    /// One who waited long enough sends, too.
    fn join(&mut self, key: &SendKey) {
        if let Some(open) = self.open.get_mut(key) {
            open.claimants = open.claimants.saturating_add(1);
        }
    }

    fn complete(&mut self, key: SendKey, done: Done) {
        self.forget_old(done.at);
        if let Some(open) = self.open.remove(&key) {
            open.ended.notify_waiters();
        }
        if self.make_room() {
            self.done.insert(key, done);
        }
    }

    fn release(&mut self, key: &SendKey) {
        let Some(open) = self.open.get_mut(key) else { return };
        open.claimants -= 1;
        if open.claimants == 0 {
            // All look again; the first of them claims, the others find its claim.
            open.ended.notify_waiters();
            self.open.remove(key);
        }
    }

    fn forget_old(&mut self, now: UnixMillis) {
        while self.done.front().is_some_and(|(_, done)| done.at.plus(SENT_TTL) <= now) {
            self.done.pop_front();
        }
    }

    /// Whether there is room for one more, if need be by forgetting the oldest answer.
    fn make_room(&mut self) -> bool {
        let full = self.open.len() + self.done.len() >= SENDS_MAX_PER_SHARD;
        !full || self.done.pop_front().is_some()
    }
}

/// Remembers sends in the process, [`SENDS_MAX`] at most.
pub struct MemoryIdempotency {
    clock: Arc<dyn Clock>,
    sends: Sharded<Sends>,
}

impl MemoryIdempotency {
    /// Nothing sent yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, sends: Sharded::default() }
    }
}

#[async_trait]
impl IdempotencyCache for MemoryIdempotency {
    async fn claim(
        &self,
        user: &UserId,
        id: &ClientMessageId,
        fingerprint: u64,
        patience: Duration,
    ) -> Claim {
        let key = (user.clone(), id.clone());
        let patience = tokio::time::sleep(patience);
        tokio::pin!(patience);
        loop {
            let look = self.sends.lock(&key).claim(&key, fingerprint, self.clock.unix());
            let ended = match look {
                Look::Known(claim) => return claim,
                Look::Underway(ended) => ended,
            };
            tokio::select! {
                biased;
                () = ended => {}
                () = &mut patience => {
                    self.sends.lock(&key).join(&key);
                    return Claim::Fresh;
                }
            }
        }
    }

    async fn complete(&self, user: &UserId, id: &ClientMessageId, fingerprint: u64, receipt: &SendReceipt) {
        let key = (user.clone(), id.clone());
        let done = Done { fingerprint, receipt: receipt.clone(), at: self.clock.unix() };
        self.sends.lock(&key).complete(key.clone(), done);
    }

    fn release(&self, user: &UserId, id: &ClientMessageId) {
        let key = (user.clone(), id.clone());
        self.sends.lock(&key).release(&key);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use futures_util::{FutureExt, poll};

    use super::*;
    use crate::application::ports::clock::ManualClock;
    use crate::domain::ids::MessageId;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn id(name: &str) -> ClientMessageId {
        ClientMessageId::parse(name).unwrap()
    }

    fn receipt(seq: u64) -> SendReceipt {
        SendReceipt { message_id: MessageId::parse("m").unwrap(), seq, created_at: UnixMillis(1) }
    }

    fn cache() -> (Arc<ManualClock>, MemoryIdempotency) {
        let clock = Arc::new(ManualClock::at(UnixMillis(1_000_000)));
        (clock.clone(), MemoryIdempotency::new(clock))
    }

    #[tokio::test]
    async fn a_repeated_send_gets_the_same_answer_and_another_body_a_conflict() {
        let (_, cache) = cache();
        assert_eq!(cache.claim(&user("a"), &id("1"), 7, PATIENCE).await, Claim::Fresh);
        assert_eq!(cache.claim(&user("a"), &id("1"), 8, PATIENCE).await, Claim::Conflict);
        cache.complete(&user("a"), &id("1"), 7, &receipt(3)).await;
        assert_eq!(cache.claim(&user("a"), &id("1"), 7, PATIENCE).await, Claim::Done(receipt(3)));
        assert_eq!(cache.claim(&user("a"), &id("1"), 8, PATIENCE).await, Claim::Conflict);
    }

    #[tokio::test]
    async fn two_users_may_use_the_same_id() {
        let (_, cache) = cache();
        assert_eq!(cache.claim(&user("a"), &id("1"), 7, PATIENCE).await, Claim::Fresh);
        assert_eq!(cache.claim(&user("b"), &id("1"), 8, PATIENCE).await, Claim::Fresh);
    }

    #[tokio::test]
    async fn an_answer_is_forgotten_after_its_time() {
        let (clock, cache) = cache();
        cache.complete(&user("a"), &id("1"), 7, &receipt(3)).await;
        clock.advance(SENT_TTL - Duration::from_millis(1));
        assert_eq!(cache.claim(&user("a"), &id("1"), 7, PATIENCE).await, Claim::Done(receipt(3)));
        clock.advance(Duration::from_millis(1));
        assert_eq!(cache.claim(&user("a"), &id("1"), 7, PATIENCE).await, Claim::Fresh);
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_get_the_answer() {
        let (_, cache) = cache();
        assert_eq!(cache.claim(&user("a"), &id("1"), 7, PATIENCE).await, Claim::Fresh);
        let (user, id) = (user("a"), id("1"));
        let mut waiting = join_all((0..3).map(|_| cache.claim(&user, &id, 7, PATIENCE)));
        assert!(poll!(&mut waiting).is_pending());
        cache.complete(&user, &id, 7, &receipt(3)).await;
        assert_eq!(waiting.await, vec![Claim::Done(receipt(3)); 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_release_exactly_one_of_those_who_wait_may_try() {
        let (_, cache) = cache();
        let (user, id) = (user("a"), id("1"));
        assert_eq!(cache.claim(&user, &id, 7, PATIENCE).await, Claim::Fresh);
        let mut waiting: Vec<_> = (0..3).map(|_| cache.claim(&user, &id, 7, PATIENCE)).collect();
        for one in &mut waiting {
            assert!(poll!(one).is_pending());
        }
        // One that was dropped while it waited must not take the others' turn with it.
        drop(waiting.remove(0));
        cache.release(&user, &id);
        assert_eq!((&mut waiting[1]).now_or_never(), Some(Claim::Fresh));
        assert_eq!((&mut waiting[0]).now_or_never(), None);
        cache.complete(&user, &id, 7, &receipt(4)).await;
        assert_eq!(waiting.remove(0).await, Claim::Done(receipt(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_loses_patience_sends_too_and_its_failure_does_not_end_the_first_claim() {
        let (_, cache) = cache();
        let (user, id) = (user("a"), id("1"));
        assert_eq!(cache.claim(&user, &id, 7, PATIENCE).await, Claim::Fresh);
        assert_eq!(cache.claim(&user, &id, 7, PATIENCE).await, Claim::Fresh);
        cache.release(&user, &id);
        let mut third = cache.claim(&user, &id, 7, PATIENCE);
        assert!(poll!(&mut third).is_pending());
        cache.release(&user, &id);
        assert_eq!(third.await, Claim::Fresh);
    }

    #[tokio::test]
    async fn a_release_after_the_answer_changes_nothing() {
        let (_, cache) = cache();
        cache.complete(&user("a"), &id("1"), 7, &receipt(3)).await;
        cache.release(&user("a"), &id("1"));
        assert_eq!(cache.claim(&user("a"), &id("1"), 7, PATIENCE).await, Claim::Done(receipt(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_nobody_ends_is_given_up_after_the_same_time() {
        let (clock, cache) = cache();
        assert_eq!(cache.claim(&user("a"), &id("1"), 7, PATIENCE).await, Claim::Fresh);
        clock.advance(SENT_TTL);
        assert_eq!(cache.claim(&user("a"), &id("1"), 8, PATIENCE).await, Claim::Fresh);
    }

    #[tokio::test]
    async fn there_are_only_so_many_and_the_oldest_answers_go_first() {
        let (_, cache) = cache();
        for n in 0..2 * SENDS_MAX {
            cache.complete(&user("a"), &id(&n.to_string()), 7, &receipt(3)).await;
        }
        let held: usize = cache.sends.each().map(|sends| sends.open.len() + sends.done.len()).sum();
        assert!(held <= SENDS_MAX);
        assert_eq!(cache.claim(&user("a"), &id("0"), 7, PATIENCE).await, Claim::Fresh);
        let newest = id(&(2 * SENDS_MAX - 1).to_string());
        assert_eq!(cache.claim(&user("a"), &newest, 7, PATIENCE).await, Claim::Done(receipt(3)));
    }

    #[test]
    fn open_claims_are_never_pushed_out_by_newer_ones() {
        let mut sends = Sends::default();
        let key = |n: usize| (user("a"), id(&n.to_string()));
        for n in 0..SENDS_MAX_PER_SHARD + 10 {
            assert!(matches!(sends.claim(&key(n), 7, UnixMillis(1)), Look::Known(Claim::Fresh)));
        }
        assert_eq!(sends.open.len(), SENDS_MAX_PER_SHARD);
        assert!(matches!(sends.claim(&key(0), 7, UnixMillis(1)), Look::Underway(_)));
    }
}
