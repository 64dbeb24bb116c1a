//! Leaving without a stampede: readers are sent away a few at a time, and each session is written down as it goes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::gateway::Gateway;
use super::sessions::live::LiveSession;
use crate::domain::error::{ErrorCode, Refusal};
use crate::session::machine::Session;

/// Least time between two batches of readers.
const BATCH_EVERY_MIN: Duration = Duration::from_millis(100);
/// A reader comes back after up to one part in so many of the spread: those of one batch come back apart, and nobody
/// waits for long.
const RECONNECT_PART: u32 = 5;
/// Records that are written at the same time.
const SAVES_AT_ONCE_MAX: usize = 64;
/// Beyond the spread, how long records may take to be written: with the bus down there is nothing to wait for.
const SAVES_GRACE: Duration = Duration::from_secs(3);
/// When somebody who comes too late may try again, elsewhere; longer by up to as much.
const RETRY_FIRST: Duration = Duration::from_millis(500);

impl Gateway {
    /// The node is going. From now on no session begins or comes back here; those that are here are sent away one batch
    /// after the other, evenly over `spread`, and written down. Returns when all are, `SAVES_GRACE` after `spread` at
    /// the latest.
    pub async fn send_everybody_away(self: &Arc<Self>, spread: Duration) {
        let began = Instant::now();
        self.leaving.store(true, Ordering::SeqCst);
        let sending = async {
            let mut sessions = self.sessions.all();
            fastrand::shuffle(&mut sessions);
            let turns = Turns::new(sessions.len(), spread);
            stream::iter(sessions.into_iter().enumerate())
                .then(|(index, session)| async move {
                    sleep_until(began + turns.of(index)).await;
                    session
                })
                .for_each_concurrent(SAVES_AT_ONCE_MAX, |session| self.send_away(session, spread))
                .await;
            // Those who had begun to come in meanwhile.
            let late = self.sessions.all().into_iter().filter(|session| !session.peek(Session::is_sent_away));
            stream::iter(late)
                .for_each_concurrent(SAVES_AT_ONCE_MAX, |session| self.send_away(session, spread))
                .await;
        };
        if timeout_at(began + spread + SAVES_GRACE, sending).await.is_err() {
            tracing::warn!("not every session could be written down in time");
            for session in self.sessions.all() {
                session.with(|machine| machine.send_away(Duration::ZERO));
            }
        }
        self.leave_roster(spread / RECONNECT_PART + self.config.session.presence_grace).await;
    }

    async fn send_away(self: &Arc<Self>, session: Arc<LiveSession>, spread: Duration) {
        let reconnect_after = (spread / RECONNECT_PART).mul_f64(fastrand::f64());
        // First: what the reader was handed by then is what the record must know of.
        session.with(|machine| machine.send_away(reconnect_after));
        self.save_record(&session).await;
    }

    /// Whether the node is going: no session begins here any more.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }
}

/// When each of many sessions has its turn: in batches, evenly over the spread.
#[derive(Clone, Copy)]
struct Turns {
    sessions: u128,
    batches: u128,
    spread: Duration,
}

impl Turns {
    fn new(sessions: usize, spread: Duration) -> Self {
        let sessions = sessions.max(1) as u128;
        let batches = (spread.as_millis() / BATCH_EVERY_MIN.as_millis()).clamp(1, sessions);
        Self { sessions, batches, spread }
    }

    /// How long after the beginning; the last batch goes one step before the end.
    fn of(self, index: usize) -> Duration {
        let batch = index as u128 * self.batches / self.sessions;
        self.spread.mul_f64(batch as f64 / self.batches as f64)
    }
}

/// To whoever comes to a node that is going.
pub(super) fn going_away() -> Refusal {
    let after = RETRY_FIRST + RETRY_FIRST.mul_f64(fastrand::f64());
    Refusal::new(ErrorCode::Draining, "this node is going away").retry_after(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(sessions: usize, spread: Duration) -> Vec<Duration> {
        let turns = Turns::new(sessions, spread);
        (0..sessions).map(|index| turns.of(index)).collect()
    }

    #[test]
    fn many_go_in_batches_that_fill_the_spread_evenly() {
        let spread = Duration::from_secs(25);
        let mut turns = turns(100_000, spread);
        assert!(turns.is_sorted());
        assert_eq!(turns.last(), Some(&(spread - BATCH_EVERY_MIN)));
        turns.dedup();
        assert_eq!(turns.len(), 250);
    }

    #[test]
    fn few_go_one_by_one_and_one_alone_at_once() {
        let seconds = Duration::from_secs;
        assert_eq!(turns(5, seconds(25)), [0, 5, 10, 15, 20].map(seconds));
        assert_eq!(turns(1, seconds(25)), [Duration::ZERO]);
        assert_eq!(turns(3, Duration::ZERO), [Duration::ZERO; 3]);
    }
}
