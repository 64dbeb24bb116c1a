//! What sessions and users have used up of their rates, and the strikes of those who don't mind that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quick_cache::sync::Cache;

use super::limits::{Meter, Rate};
use crate::domain::ids::UserId;
use crate::domain::time::Tick;

/// Most users of whom a node knows what they have used up; whoever is forgotten begins anew.
pub const METERED_USERS_MAX: usize = 100_000;
/// Strikes that are forgiven per second.
pub const STRIKES_FORGIVEN_PER_SECOND: u32 = 10;
/// A session is sent away when it has collected so many seconds' worth of strikes: 300 at once, for one.
pub const STRIKES_MAX_SECONDS: u32 = 30;
/// How long a session that was sent away for its strikes is not let in.
pub const BARRED_FOR: Duration = Duration::from_secs(5);

/// What somebody has used up of each rate.
#[derive(Debug, Default)]
pub struct Meters {
    /// Commands of any kind.
    pub commands: Meter,
    /// Messages.
    pub sends: Meter,
    /// `typing`.
    pub typing: Meter,
    /// Connects; of users alone.
    pub connects: Meter,
}

/// What a session has used up.
#[derive(Debug, Default)]
pub struct Allowance {
    /// Of its own rates.
    pub own: Meters,
    /// Its user's, once it has asked for anything.
    pub user: OnceLock<Arc<Meters>>,
    strikes: Meter,
    barred_until: AtomicU64,
}

impl Allowance {
    /// Notes that a refusal was not minded. True if it was one too many: then the session is barred for a while.
    pub fn strike(&self, now: Tick) -> bool {
        let forgiven = Rate { per_second: STRIKES_FORGIVEN_PER_SECOND };
        let too_many = self.strikes.take_within(1, forgiven, STRIKES_MAX_SECONDS, now).is_err();
        if too_many {
            self.barred_until.store(now.plus(BARRED_FOR).0, Ordering::Relaxed);
        }
        too_many
    }

    /// How long the session is not let in any more.
    #[must_use]
    pub fn barred(&self, now: Tick) -> Option<Duration> {
        let wait = Tick(self.barred_until.load(Ordering::Relaxed)).since(now);
        (!wait.is_zero()).then_some(wait)
    }
}

/// What users have used up on this node, all their sessions together.
pub struct UserMeters {
    of: Cache<UserId, Arc<Meters>>,
}

impl Default for UserMeters {
    fn default() -> Self {
        Self { of: Cache::new(METERED_USERS_MAX) }
    }
}

impl UserMeters {
    /// What a user has used up.
    #[must_use]
    pub fn find(&self, user: &UserId) -> Arc<Meters> {
        if let Some(known) = self.of.get(user) {
            return known;
        }
        let fresh = Arc::new(Meters::default());
        self.of.insert(user.clone(), fresh.clone());
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_barred_for_a_while_after_too_many_strikes() {
        let allowance = Allowance::default();
        let most = STRIKES_FORGIVEN_PER_SECOND * STRIKES_MAX_SECONDS;
        assert!((0..most).all(|_| !allowance.strike(Tick(0))));
        assert_eq!(allowance.barred(Tick(0)), None);
        assert!(allowance.strike(Tick(0)));
        assert_eq!(allowance.barred(Tick(0)), Some(BARRED_FOR));
        assert_eq!(allowance.barred(Tick(0).plus(BARRED_FOR)), None);
    }

    #[test]
    fn strikes_now_and_then_are_forgiven() {
        let allowance = Allowance::default();
        let now_and_then = (0..10_000).map(|n| Tick(n * 1000 / u64::from(STRIKES_FORGIVEN_PER_SECOND)));
        assert!(now_and_then.into_iter().all(|now| !allowance.strike(now)));
    }

    #[test]
    fn a_user_is_metered_once() {
        let meters = UserMeters::default();
        let user = UserId::parse("ann").unwrap();
        assert!(Arc::ptr_eq(&meters.find(&user), &meters.find(&user)));
    }
}
