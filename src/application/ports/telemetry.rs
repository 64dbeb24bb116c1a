//! What the node counts: one enum of occurrences with one place to report them.

use super::codec::Undecodable;
use crate::domain::error::ErrorCode;
use crate::session::reader::{Resume, Transport};
use crate::session::replay::GapReason;

/// Why a feed read its log again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RepairReason {
    /// An offset was skipped.
    Hole,
    /// The log has a new epoch.
    NewEpoch,
    /// The link was interrupted.
    Interrupted,
    /// More came at once than the feed holds.
    Overflow,
    /// The audit found the log ahead of the feed.
    Audit,
}

impl RepairReason {
    /// The reason's name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hole => "hole",
            Self::NewEpoch => "new_epoch",
            Self::Interrupted => "interrupted",
            Self::Overflow => "overflow",
            Self::Audit => "audit",
        }
    }
}

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// A command was answered: its type, and the code if it failed.
    Command(&'static str, Option<ErrorCode>),
    /// Events were handed to a socket.
    Delivered(Transport, u64),
}

/// Takes notes.
pub trait Telemetry: Send + Sync {
    /// Counts one occurrence.
    fn record(&self, occurrence: Occurrence);
}
