//! The places under the cap on connections, and a connection's own.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::idle::Running;
use crate::application::ports::telemetry::labels::Limit;
use crate::application::ports::telemetry::measure::{Gauges, Measure};
use crate::application::ports::telemetry::occurrence::{NoTelemetry, Occurrence, Telemetry};

/// As many places as there may be connections at once, upgraded ones included. Beyond it nothing is accepted: peers wait
/// in the kernel's backlog, and nobody tells how many. Each needs a descriptor (`ulimit -n`). Cheap to clone.
#[derive(Clone)]
pub struct Slots {
    max: usize,
    free: Arc<Semaphore>,
    telemetry: Arc<dyn Telemetry>,
}

impl Slots {
    /// So many, at least one.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self { max, free: Arc::new(Semaphore::new(max)), telemetry: Arc::new(NoTelemetry) }
    }

    /// The same, and each time that there is none left is counted.
    #[must_use]
    pub fn counted_by(self, telemetry: Arc<dyn Telemetry>) -> Self {
        Self { telemetry, ..self }
    }

    /// Waits until one is free. It is not taken yet: who waits for a connection is none.
    pub(super) async fn vacancy(&self) {
        if self.free.available_permits() == 0 {
            self.telemetry.record(Occurrence::LimitHit(Limit::Connections));
            // Never closed.
            let _ = self.free.acquire().await;
        }
    }

    /// Takes one, and waits if another listener with the same places was quicker.
    pub(super) async fn take(&self) -> Result<ConnectionSlot, AcquireError> {
        self.free.clone().acquire_owned().await.map(ConnectionSlot::new)
    }
}

impl Gauges for Slots {
    fn measure(&self, note: &mut dyn FnMut(Measure, f64)) {
        note(Measure::Sockets, self.max.saturating_sub(self.free.available_permits()) as f64);
        note(Measure::SocketsMax, self.max as f64);
    }
}

/// A connection's place among [`Slots`], found in every request's extensions.
///
/// The connection's task holds it as long as HTTP is spoken. An HTTP/1.1 upgrade ends that task while the socket lives
/// on: whoever takes the socket keeps a clone for as long as the socket, else upgraded connections would not count.
#[derive(Debug, Clone)]
pub struct ConnectionSlot {
    _permit: Arc<OwnedSemaphorePermit>,
    /// On HTTP/2 the stream keeps its connection from being idle.
    _running: Option<Running>,
}

impl ConnectionSlot {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: Arc::new(permit), _running: None }
    }

    /// The same, for one request that runs.
    pub(super) fn of_request(&self, running: Option<Running>) -> Self {
        Self { _permit: self._permit.clone(), _running: running }
    }
}
