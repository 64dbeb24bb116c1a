//! What the node can be asked for: how things stand at this moment.

use super::labels::{FetchOutcome, SessionState};
use crate::session::reader::Transport;

/// Something that has a present value. What several sources tell of the same is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Clients that are connected by this transport.
    Connections(Transport),
    /// Connections of the public listener, whatever is spoken on them.
    Sockets,
    /// How many of these there may be.
    SocketsMax,
    /// Sessions that this node keeps.
    Sessions(SessionState),
    /// Events in the sessions' queues.
    QueueEvents,
    /// Bytes of event bodies in the sessions' queues.
    QueueBytes,
    /// Of all events that wait for a connected reader, how old the oldest is; in seconds.
    QueueOldestAge,
    /// Feeds that this node follows.
    Feeds,
    /// How long ago the links to the bus were last proven; in seconds.
    BusProbeAge,
    /// How far what has surely arrived is behind the time of the bus; in seconds.
    BusLag,
    /// 1 while calls of the Store fail at once.
    StoreCircuitOpen,
    /// Fetches of the JWK set since the start.
    JwksFetches(FetchOutcome),
    /// Keys that tokens can be verified with.
    JwksKeys,
    /// How long ago the keys were last fetched; in seconds.
    JwksAge,
    /// 1 while the node is going away.
    Draining,
    /// Tasks that have begun and not ended.
    Tasks,
}

/// Tells how things stand.
pub trait Gauges: Send + Sync {
    /// Tells every measure that it knows. Asked every few seconds: it must not wait for anything.
    fn measure(&self, note: &mut dyn FnMut(Measure, f64));
}
