//! What the node counts: one enum of occurrences with one place to report them.

use std::time::Duration;

use tracing::Span;

use super::labels::{CommandType, Limit, RepairReason, StoreCode, StoreMethod};
use crate::application::ports::codec::Undecodable;
use crate::application::trace::TraceContext;
use crate::domain::error::ErrorCode;
use crate::session::reader::{Resume, Transport};
use crate::session::replay::GapReason;

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurrence {
    /// A payload of the bus was skipped.
    PayloadSkipped(Undecodable),
    /// A feed read its log again.
    Repaired(RepairReason),
    /// A session was told of a gap.
    GapTold(GapReason),
    /// A session's backlog was given up, to be read again.
    Spilled,
    /// An ephemeral event was dropped.
    EphemeralDropped,
    /// An attach ended so.
    Attached(Transport, Resume),
    /// An attach was refused.
    AttachRefused(Transport, ErrorCode),
    /// A command was answered; with a code if it failed.
    Command(CommandType, Option<ErrorCode>),
    /// Events were handed to a connection.
    Delivered {
        /// To what kind.
        transport: Transport,
        /// How many.
        events: u64,
        /// How large their bodies are together.
        bytes: u64,
    },
    /// A client sent commands in so many bytes: a frame, or a body.
    Received(u64),
    /// How old an event was when it was handed to a connection, by its log's time. Only of events that came while the
    /// connection was there: what it catches up with says nothing about the way.
    DeliveryLatency(Duration),
    /// The same for a message, since the Store committed it.
    CommitLatency(Duration),
    /// An attempt to call the Store.
    StoreCall {
        /// Which call.
        method: StoreMethod,
        /// How it went.
        code: StoreCode,
        /// How long it took.
        took: Duration,
    },
    /// An entry of the lifecycle stream was dropped, since too many wait for the bus.
    LifecycleDropped,
    /// A limit was hit.
    LimitHit(Limit),
}

/// Takes notes.
pub trait Telemetry: Send + Sync {
    /// Counts one occurrence. Called for every delivery: it must cost next to nothing.
    fn record(&self, occurrence: Occurrence);

    /// Makes a span, just begun, a part of a client's trace.
    fn adopt(&self, _span: &Span, _trace: TraceContext) {}
}

/// Takes no notes.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTelemetry;

impl Telemetry for NoTelemetry {
    fn record(&self, _: Occurrence) {}
}
