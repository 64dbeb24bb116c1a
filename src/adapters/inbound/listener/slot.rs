//! A connection's place under the cap.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

/// A connection's place under [`max_connections`](super::config::Config::max_connections), found in every request's
/// extensions.
///
/// The connection's task holds it as long as HTTP is spoken. An HTTP/1.1 upgrade ends that task while the socket lives
/// on: whoever takes the socket keeps a clone for as long as the socket, else upgraded connections would not count.
#[derive(Debug, Clone)]
pub struct ConnectionSlot(#[expect(dead_code, reason = "held for its drop")] Arc<OwnedSemaphorePermit>);

impl ConnectionSlot {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(permit))
    }
}
