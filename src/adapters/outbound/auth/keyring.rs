//! The keys of this moment, and the task that keeps them so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::jwks::{self, Jwks, MalformedJwks, SkippedKey};
use super::keys::KeySet;
use super::source::{FETCH_TIMEOUT, FetchError, JwksSource};
use crate::application::ports::clock::Clock;
use crate::application::vital::VitalTasks;
use crate::domain::time::Tick;

/// How long keys are used after the last good fetch.
pub const KEYS_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Unknown `kid`s cause at most one fetch in this time, however many they are.
pub const DEMAND_INTERVAL: Duration = Duration::from_secs(10);
/// First pause after a failed fetch; doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between failing fetches.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A key set, and which it is: what was verified with an older one must be verified anew.
#[derive(Debug)]
pub struct KeyGeneration {
    /// Rises whenever the keys change.
    pub number: u64,
    /// The keys.
    pub keys: KeySet,
}

/// How fetches went since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FetchCounts {
    /// Fetches that brought a JWK set.
    pub ok: u64,
    /// Fetches that did not.
    pub failed: u64,
}

/// The keys that tokens are verified with.
pub enum Keyring {
    /// They never change.
    Fixed(Arc<KeyGeneration>),
    /// They are fetched, again and again.
    Fetched(FetchedKeys),
}

impl Keyring {
    /// Keys that never change.
    #[must_use]
    pub fn fixed(keys: KeySet) -> Self {
        Self::Fixed(Arc::new(KeyGeneration { number: 0, keys }))
    }

    /// The keys, unless there are none or the last good fetch was more than [`KEYS_MAX_AGE`] ago.
    #[must_use]
    pub fn current(&self) -> Option<Arc<KeyGeneration>> {
        match self {
            Self::Fixed(generation) => Some(Arc::clone(generation)),
            Self::Fetched(fetched) => fetched.current(),
        }
    }

    /// Waits for a fetch, since a key is missing: one under way, or a new one if none was asked for in the last
    /// [`DEMAND_INTERVAL`]. All who wait share it; whether it brought the key is for the caller to see.
    pub async fn look_again(&self) {
        if let Self::Fetched(fetched) = self {
            fetched.look_again().await;
        }
    }

    /// How long ago the keys were last fetched; `None` if they never are, or never were yet.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let Self::Fetched(fetched) = self else { return None };
        let latest = fetched.shared.latest.read();
        Some(fetched.shared.clock.tick().since(latest.as_ref()?.fetched_at))
    }

    /// How fetches went.
    #[must_use]
    pub fn fetch_counts(&self) -> FetchCounts {
        match self {
            Self::Fixed(_) => FetchCounts::default(),
            Self::Fetched(fetched) => FetchCounts {
                ok: fetched.shared.ok.load(Ordering::Relaxed),
                failed: fetched.shared.failed.load(Ordering::Relaxed),
            },
        }
    }
}

/// Keys that a task fetches. The task ends when this is dropped or its parent token is cancelled.
pub struct FetchedKeys {
    shared: Arc<Shared>,
    completed: watch::Receiver<u64>,
    _task_ends_with_this: DropGuard,
}

struct Shared {
    clock: Arc<dyn Clock>,
    latest: RwLock<Option<Latest>>,
    flight: Mutex<Flight>,
    demand: Notify,
    ok: AtomicU64,
    failed: AtomicU64,
}

struct Latest {
    generation: Arc<KeyGeneration>,
    document: Vec<u8>,
    fetched_at: Tick,
}

/// Who may cause the next fetch.
#[derive(Default)]
struct Flight {
    /// A fetch is under way or about to be: whoever needs one waits for it.
    pending: bool,
    /// It was asked for, so the task must not sleep.
    demanded: bool,
    last_demand: Option<Tick>,
}

impl FetchedKeys {
    /// Starts fetching: at once, then every `interval` less up to a fifth, and with growing pauses after failures.
    #[must_use]
    pub fn start(
        source: Box<dyn JwksSource>,
        interval: Duration,
        clock: Arc<dyn Clock>,
        tasks: &VitalTasks,
        shutdown: &CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            clock,
            latest: RwLock::new(None),
            // Those who come before the first fetch has ended wait for it.
            flight: Mutex::new(Flight { pending: true, ..Flight::default() }),
            demand: Notify::new(),
            ok: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let stop = shutdown.child_token();
        let (done, completed) = watch::channel(0);
        tasks.spawn("the refresh of the signing keys", stop.clone(), {
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            async move {
                stop.run_until_cancelled(shared.keep_fetching(source, interval, done)).await;
            }
        });
        Self { shared, completed, _task_ends_with_this: stop.drop_guard() }
    }

    fn current(&self) -> Option<Arc<KeyGeneration>> {
        let latest = self.shared.latest.read();
        let latest = latest.as_ref()?;
        let age = self.shared.clock.tick().since(latest.fetched_at);
        (age <= KEYS_MAX_AGE).then(|| Arc::clone(&latest.generation))
    }

    async fn look_again(&self) {
        let mut completed = self.completed.clone();
        if self.shared.join_fetch(&mut completed) {
            // An error means that the task has ended: then nobody will fetch.
            let _ = completed.changed().await;
        }
    }
}

impl Shared {
    /// Joins the fetch under way, or asks for one. False if it is too early for another.
    fn join_fetch(&self, completed: &mut watch::Receiver<u64>) -> bool {
        let mut flight = self.flight.lock();
        // Under the lock that completions are told under: from here on none is missed.
        completed.mark_unchanged();
        if flight.pending {
            return true;
        }
        let now = self.clock.tick();
        if flight.last_demand.is_some_and(|last| now.since(last) < DEMAND_INTERVAL) {
            return false;
        }
        *flight = Flight { pending: true, demanded: true, last_demand: Some(now) };
        self.demand.notify_one();
        true
    }

    async fn keep_fetching(
        &self,
        source: Box<dyn JwksSource>,
        interval: Duration,
        completed: watch::Sender<u64>,
    ) {
        let mut failures: u32 = 0;
        loop {
            {
                let mut flight = self.flight.lock();
                flight.pending = true;
                flight.demanded = false;
            }
            let good = self.fetch(source.as_ref()).await;
            failures = if good { 0 } else { failures.saturating_add(1) };
            {
                let mut flight = self.flight.lock();
                flight.pending = false;
                completed.send_modify(|count| *count += 1);
            }
            let pause = tokio::time::sleep(pause_after(failures, interval));
            tokio::pin!(pause);
            // A notification may be left over from a demand that was met meanwhile: only the flag counts.
            while !self.flight.lock().demanded {
                tokio::select! {
                    () = &mut pause => break,
                    () = self.demand.notified() => {}
                }
            }
        }
    }

    /// One fetch; whether it was good.
    async fn fetch(&self, source: &dyn JwksSource) -> bool {
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, source.fetch()).await;
        let taken = match fetched.unwrap_or(Err(FetchError::Timeout)) {
            Ok(document) => self.take(document).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match taken {
            Ok(()) => {
                self.ok.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    error,
                    "the JWK set could not be fetched; the keys at hand stay in use for a while"
                );
                false
            }
        }
    }

    /// Puts a document's keys in the place of the former ones. The same document only proves that they still hold.
    fn take(&self, document: Vec<u8>) -> Result<(), MalformedJwks> {
        let fetched_at = self.clock.tick();
        let former = {
            let mut latest = self.latest.write();
            match latest.as_mut() {
                Some(latest) if latest.document == document => {
                    latest.fetched_at = fetched_at;
                    return Ok(());
                }
                Some(latest) => Some(latest.generation.number),
                None => None,
            }
        };
        let Jwks { keys, skipped } = jwks::parse(&document)?;
        for SkippedKey { kid, reason } in skipped {
            tracing::warn!(?kid, reason, "a key of the JWK set is not used");
        }
        if keys.is_empty() {
            tracing::error!("the JWK set has no usable key: no token can be verified");
        }
        let number = former.map_or(0, |number| number + 1);
        tracing::info!(generation = number, "the signing keys are new");
        let generation = Arc::new(KeyGeneration { number, keys });
        *self.latest.write() = Some(Latest { generation, document, fetched_at });
        Ok(())
    }
}

/// Jittered, so that the nodes of a cluster don't fetch in step.
fn pause_after(failures: u32, interval: Duration) -> Duration {
    let chance = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    if failures == 0 {
        return interval.mul_f64(1.0 - chance / 5.0);
    }
    let doubled = RETRY_FIRST.saturating_mul(1 << (failures - 1).min(RETRY_DOUBLINGS_MAX));
    doubled.min(RETRY_MAX).min(interval).mul_f64(1.0 - chance / 2.0)
}

/// Enough to get from [`RETRY_FIRST`] to [`RETRY_MAX`].
const RETRY_DOUBLINGS_MAX: u32 = 6;
