//! Who attached, detached and ended is told, also if nobody could be told for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use edgeway::application::lifecycle::EVENTS_MAX;
use edgeway::application::ports::bus::BusError;
use edgeway::application::ports::lifecycle::{LifecycleEvent, LifecycleLog, SessionTurn};
use edgeway::application::ports::roster::{Entered, REAP_SESSIONS_MAX, Reaped, RosterStep, SessionRoster};
use edgeway::application::ports::telemetry::occurrence::{Occurrence, Telemetry};
use edgeway::domain::ids::{SessionId, UserId};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::node::Node;

/// Long after whatever is tried once more only for a while.
const OUTAGE: Duration = Duration::from_secs(600);
/// By then whatever waited is written.
const CATCH_UP: Duration = Duration::from_secs(10);

/// A log that can be away.
#[derive(Default)]
struct Log {
    away: AtomicBool,
    written: Mutex<Vec<LifecycleEvent>>,
}

#[async_trait]
impl LifecycleLog for Log {
    async fn append(&self, events: &[LifecycleEvent], _: bool) -> Result<(), BusError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(BusError::Unavailable);
        }
        self.written.lock().extend_from_slice(events);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_the_bus_is_away_is_told_once_it_is_back() {
    let log = Arc::<Log>::default();
    let node = Node::with(|ports| ports.lifecycle = log.clone());
    log.away.store(true, Ordering::SeqCst);
    drop(node.attach("alice").await);
    sleep(OUTAGE).await;
    let bob = node.attach("bob").await;
    log.away.store(false, Ordering::SeqCst);
    sleep(CATCH_UP).await;
    let told: Vec<_> =
        log.written.lock().iter().map(|event| (event.user_id.to_string(), event.turn)).collect();
    let expected = [
        ("alice", SessionTurn::Attached),
        ("alice", SessionTurn::Detached),
        ("alice", SessionTurn::Ended),
        ("bob", SessionTurn::Attached),
    ];
    assert_eq!(told, expected.map(|(user, turn)| (user.to_owned(), turn)));
    drop(bob);
}

/// Nodes have died that held so many sessions.
struct Graves {
    sessions: AtomicUsize,
}

#[async_trait]
impl SessionRoster for Graves {
    async fn enter(&self, _: &UserId, _: &SessionId, _: u32, _: usize) -> Result<Entered, BusError> {
        Ok(Entered::Yes)
    }

    async fn note(&self, steps: &[RosterStep]) -> Result<Vec<Option<usize>>, BusError> {
        Ok(vec![None; steps.len()])
    }

    async fn beat(&self) -> Result<(), BusError> {
        Ok(())
    }

    async fn farewell(&self, _: Duration) -> Result<(), BusError> {
        Ok(())
    }

    async fn reap(&self) -> Result<Vec<Reaped>, BusError> {
        let left = self.sessions.load(Ordering::SeqCst);
        let count = left.min(REAP_SESSIONS_MAX);
        self.sessions.store(left - count, Ordering::SeqCst);
        let reaped = |number: usize| Reaped {
            user_id: UserId::parse("alice").unwrap(),
            session_id: SessionId::parse(&format!("s{number}")).unwrap(),
            device_id: None,
            transport: None,
            node: "dead".into(),
            others: 0,
        };
        Ok((0..count).map(|number| reaped(left - number)).collect())
    }

    async fn reap_user(&self, _: &UserId, _: &str) -> Result<Vec<Reaped>, BusError> {
        Ok(Vec::new())
    }
}

#[derive(Default)]
struct Dropped(AtomicUsize);

impl Telemetry for Dropped {
    fn record(&self, occurrence: Occurrence) {
        self.0.fetch_add(usize::from(occurrence == Occurrence::LifecycleDropped), Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn so_many_entries_wait_for_the_bus_and_what_is_dropped_is_counted() {
    const ALL: usize = EVENTS_MAX + 10 * REAP_SESSIONS_MAX;
    let (log, dropped) = (Arc::<Log>::default(), Arc::<Dropped>::default());
    log.away.store(true, Ordering::SeqCst);
    let _node = Node::with(|ports| {
        ports.lifecycle = log.clone();
        ports.roster = Arc::new(Graves { sessions: AtomicUsize::new(ALL) });
        ports.telemetry = dropped.clone();
    });
    sleep(OUTAGE).await;
    log.away.store(false, Ordering::SeqCst);
    sleep(CATCH_UP).await;
    let (written, dropped) = (log.written.lock().len(), dropped.0.load(Ordering::SeqCst));
    assert_eq!(written + dropped, ALL);
    assert!((EVENTS_MAX..EVENTS_MAX + 2 * REAP_SESSIONS_MAX).contains(&written), "{written}");
    let first: Vec<_> = log.written.lock()[..2].iter().map(|event| event.session_id.to_string()).collect();
    assert_eq!(first, [format!("s{ALL}"), format!("s{}", ALL - 1)], "in order");
}
