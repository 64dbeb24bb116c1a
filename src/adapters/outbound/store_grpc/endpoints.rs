//! The Store's addresses: lazy channels for each, taken in turn, the failing ones passed over.
//!
//! Not tonic's balanced channel: with one dead endpoint that one goes on failing calls until it is reconnected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::application::ports::clock::Clock;
use crate::application::ports::telemetry::labels::StoreMethod;
use crate::domain::time::Tick;

/// How long an endpoint that failed is passed over while another one is left.
const PASS_OVER: Duration = Duration::from_secs(5);

/// One address of the Store.
pub(super) struct StoreEndpoint {
    /// Of their own: sends that hang must not use up the streams of a connection that the others need.
    sends: Channel,
    others: Channel,
    passed_over_until: AtomicU64,
}

impl StoreEndpoint {
    fn new(endpoint: &Endpoint) -> Self {
        Self {
            sends: endpoint.connect_lazy(),
            others: endpoint.connect_lazy(),
            passed_over_until: AtomicU64::new(0),
        }
    }

    pub(super) fn channel_for(&self, method: StoreMethod) -> Channel {
        if method == StoreMethod::Send { self.sends.clone() } else { self.others.clone() }
    }

    /// For what is no call of the Store: health.
    pub(super) fn channel(&self) -> Channel {
        self.others.clone()
    }
}

/// All addresses of the Store.
pub(super) struct Endpoints {
    endpoints: Vec<StoreEndpoint>,
    next: AtomicUsize,
    clock: Arc<dyn Clock>,
}

impl Endpoints {
    /// `None` without a single one.
    pub(super) fn new(endpoints: &[Endpoint], clock: Arc<dyn Clock>) -> Option<Self> {
        if endpoints.is_empty() {
            return None;
        }
        let endpoints = endpoints.iter().map(StoreEndpoint::new).collect();
        Some(Self { endpoints, next: AtomicUsize::new(0), clock })
    }

    /// The next endpoint in turn that did not fail lately; if all did, just the next.
    pub(super) fn pick(&self) -> &StoreEndpoint {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.tick();
        let count = self.endpoints.len();
        (0..count)
            .map(|step| &self.endpoints[turn.wrapping_add(step) % count])
            .find(|endpoint| Tick(endpoint.passed_over_until.load(Ordering::Relaxed)) <= now)
            .unwrap_or(&self.endpoints[turn % count])
    }

    /// Passes an endpoint over for a while.
    pub(super) fn failed(&self, endpoint: &StoreEndpoint) {
        endpoint.passed_over_until.store(self.clock.tick().plus(PASS_OVER).0, Ordering::Relaxed);
    }

    /// Takes an endpoint that answers back at once.
    pub(super) fn answered(&self, endpoint: &StoreEndpoint) {
        endpoint.passed_over_until.store(0, Ordering::Relaxed);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &StoreEndpoint> {
        self.endpoints.iter()
    }
}
