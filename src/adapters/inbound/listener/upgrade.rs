//! What becomes of a connection whose request is answered with another protocol.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::transport::Transport;

/// A connection, and what was read of it beyond the request.
pub type Upgraded = (Transport, Bytes);

/// The connection of a request that may be upgraded, to be had as soon as the answer has been written: 101 over HTTP/1.1
/// (RFC 9110 §15.2.2), 200 to an extended CONNECT over HTTP/2 (RFC 8441 §5).
#[derive(Debug)]
pub struct Upgrade(Kind);

#[derive(Debug)]
enum Kind {
    /// From this listener.
    Handed(oneshot::Receiver<Upgraded>),
    /// From hyper: a stream of HTTP/2, or a connection that another listener serves.
    Pending(OnUpgrade),
}

impl Upgrade {
    /// Takes it out of a request; `None` if the connection can't be upgraded.
    pub fn take<B>(request: &mut Request<B>) -> Option<Self> {
        let extensions = request.extensions_mut();
        if let Some(Offer(receiver)) = extensions.remove() {
            return Some(Self(Kind::Handed(receiver.lock().take()?)));
        }
        Some(Self(Kind::Pending(extensions.remove()?)))
    }

    /// Waits for the connection; `None` if it came to nothing.
    pub async fn connection(self) -> Option<Upgraded> {
        match self.0 {
            Kind::Handed(receiver) => receiver.await.ok(),
            Kind::Pending(pending) => Some(Transport::from_upgraded(pending.await.ok()?)),
        }
    }
}

/// What a request carries that may be upgraded over HTTP/1.1.
#[derive(Clone)]
struct Offer(Arc<Mutex<Option<oneshot::Receiver<Upgraded>>>>);

/// Puts an [`Upgrade`] into a request; the connection goes into what comes back.
pub(super) fn offer<B>(request: &mut Request<B>) -> oneshot::Sender<Upgraded> {
    let (sender, receiver) = oneshot::channel();
    request.extensions_mut().insert(Offer(Arc::new(Mutex::new(Some(receiver)))));
    sender
}
