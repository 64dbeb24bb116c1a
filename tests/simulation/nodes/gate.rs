//! What stands between a node and the rest of the world: time, chance, and whether anything passes at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use edgeway::application::ports::bus::BusError;
use edgeway::application::ports::clock::Clock;
use edgeway::domain::time::{Tick, UnixMillis, whole_millis};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::rng::Rng;

/// When every run begins.
const BEGAN: u64 = 1_790_000_000_000;
/// How long a call waits for an answer that never comes.
const CALL_TIMEOUT: Duration = Duration::from_millis(1500);

/// All chances of a run that the plan leaves open.
pub(crate) struct Chance(Mutex<Rng>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Rng::new(seed))))
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.0.lock().below(bound)
    }

    pub(crate) fn percent(&self, percent: u64) -> bool {
        self.0.lock().percent(percent)
    }

    /// A while, mostly short.
    pub(crate) fn while_of(&self, max_millis: u64) -> Duration {
        let mut rng = self.0.lock();
        Duration::from_millis(match rng.below(10) {
            0..4 => 0,
            4..9 => rng.below(max_millis / 4 + 1),
            _ => rng.below(max_millis + 1),
        })
    }
}

/// Virtual time; the wall clock of one machine may be wrong.
pub(crate) struct VirtualClock {
    began: Instant,
    wall_error_millis: AtomicI64,
}

impl VirtualClock {
    pub(crate) fn new(began: Instant) -> Arc<Self> {
        Arc::new(Self { began, wall_error_millis: AtomicI64::new(0) })
    }

    pub(crate) fn set_wall_error(&self, millis: i64) {
        self.wall_error_millis.store(millis, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn tick(&self) -> Tick {
        Tick(whole_millis(self.began.elapsed()))
    }

    fn unix(&self) -> UnixMillis {
        let error = self.wall_error_millis.load(Ordering::Relaxed);
        UnixMillis((BEGAN + self.tick().0).saturating_add_signed(error))
    }
}

const UP: u8 = 0;
const CUT_OFF: u8 = 1;
const DEAD: u8 = 2;

/// One node's way to everything else.
pub(crate) struct Gate {
    state: AtomicU8,
    chance: Arc<Chance>,
    latency_max_millis: u64,
}

impl Gate {
    pub(crate) fn new(chance: Arc<Chance>, latency_max_millis: u64) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(UP), chance, latency_max_millis })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state.load(Ordering::Relaxed) == DEAD
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state.load(Ordering::Relaxed) == UP
    }

    pub(crate) fn cut_off(&self, cut_off: bool) {
        if !self.is_dead() {
            self.state.store(if cut_off { CUT_OFF } else { UP }, Ordering::Relaxed);
        }
    }

    pub(crate) fn kill(&self) {
        self.state.store(DEAD, Ordering::Relaxed);
    }

    /// One way. A dead node never gets there, nor hears of it.
    pub(crate) async fn pass(&self) -> Result<(), BusError> {
        let takes = self.chance.while_of(self.latency_max_millis);
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        if self.state.load(Ordering::Relaxed) == CUT_OFF {
            tokio::time::sleep(CALL_TIMEOUT).await;
            self.live_on().await;
            return Err(BusError::Unavailable);
        }
        self.live_on().await;
        Ok(())
    }

    async fn live_on(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// There and back; the answer may be lost though the thing was done.
    pub(crate) async fn call<R>(&self, act: impl Future<Output = R>) -> Result<R, BusError> {
        self.pass().await?;
        let answer = act.await;
        self.pass().await?;
        Ok(answer)
    }
}
