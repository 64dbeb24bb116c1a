//! A connection's place under the cap.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::idle::Running;

/// A connection's place under [`max_connections`](super::config::Config::max_connections), found in every request's
/// extensions.
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
