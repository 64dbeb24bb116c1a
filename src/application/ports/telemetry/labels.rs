//! The values that labels of metrics can have: all are known beforehand, so that no client can make a new series.

use std::fmt::Debug;

use crate::application::ports::codec::Undecodable;
use crate::domain::error::ErrorCode;
use crate::session::reader::{Resume, Transport};
use crate::session::replay::GapReason;

/// The values of one label, numbered from 0.
pub trait Label: Copy + Debug + PartialEq + 'static {
    /// All values, in the order of their numbers.
    const ALL: &'static [Self];

    /// The value's name in metrics.
    fn name(self) -> &'static str;

    /// The value's number.
    fn number(self) -> usize;
}

macro_rules! label {
    ($(#[$about:meta])* $label:ident { $($(#[$what:meta])* $value:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $label { $($(#[$what])* $value,)+ }

        impl $label {
            /// The value's name in metrics.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $name,)+ }
            }
        }

        label!(impl $label { $($value,)+ });
    };
    (impl $label:ident { $($value:ident,)+ }) => {
        impl Label for $label {
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn name(self) -> &'static str {
                self.as_str()
            }

            fn number(self) -> usize {
                self as usize
            }
        }
    };
}

label!(impl Transport { WebSocket, Sse, Poll, });
label!(impl Resume { New, Resumed, Rebuilt, Expired, });
label!(impl GapReason { Trimmed, LogReset, TooFar, });
label!(impl Undecodable { NotJson, WrongShape, TooLarge, WrongHeader, });
label!(impl ErrorCode {
    BadRequest, UnknownType, CursorInvalid, Unauthorized, TokenExpired, Forbidden, NotMember, NotFound, LimitExceeded,
    Superseded, StaleAttach, Conflict, SessionGone, TooLarge, RateLimited, Unavailable, Overloaded, Draining, Timeout,
    Internal,
});

label! {
    /// Why a feed read its log again.
    RepairReason {
        /// An offset was skipped.
        Hole = "hole",
        /// The log has a new epoch.
        NewEpoch = "new_epoch",
        /// The link was interrupted.
        Interrupted = "interrupted",
        /// More came at once than the feed holds.
        Overflow = "overflow",
        /// The audit found the log ahead of the feed.
        Audit = "audit",
        /// The feed's work has panicked.
        Panicked = "panicked",
    }
}

label! {
    /// What a client asks for; the protocol's `type`.
    CommandType {
        /// The first frame of a WebSocket.
        Hello = "hello",
        /// Follow dialogs.
        Subscribe = "subscribe",
        /// Follow them no more.
        Unsubscribe = "unsubscribe",
        /// Say something.
        SendMessage = "send_message",
        /// Tell that one is writing.
        Typing = "typing",
        /// Mark as read.
        ReadUpto = "read_upto",
        /// Read old messages.
        History = "history",
        /// Who is there?
        Presence = "presence",
        /// The session's own state.
        Status = "status",
        /// Free what is kept for resume.
        Ack = "ack",
        /// Show a newer token.
        Refresh = "refresh",
        /// Are you there?
        Ping = "ping",
        /// End the session.
        Bye = "bye",
        /// Whatever could not be understood: its own name is the client's, and no label.
        Unknown = "unknown",
    }
}

label! {
    /// A limit that turned somebody away, or made something go.
    Limit {
        /// `limits.connections`: nothing is accepted until a connection ends.
        Connections = "connections",
        /// `limits.sessions_per_user`
        SessionsPerUser = "sessions_per_user",
        /// `limits.subscriptions`
        Subscriptions = "subscriptions",
        /// Connects of one address.
        ConnectsPerIp = "connects_per_ip",
        /// Connects of one user.
        ConnectsPerUser = "connects_per_user",
        /// Commands of one session.
        CommandsPerSession = "commands_per_session",
        /// Commands of one user.
        CommandsPerUser = "commands_per_user",
        /// Messages of one session.
        SendsPerSession = "sends_per_session",
        /// Messages of one user.
        SendsPerUser = "sends_per_user",
        /// `typing` of one session or user.
        Typing = "typing",
        /// Refusals that were not minded: the session is sent away.
        Strikes = "strikes",
        /// `session.memory_budget`: no replay is begun.
        MemoryReplays = "memory_replays",
        /// `session.memory_budget`: no session is begun.
        MemorySessions = "memory_sessions",
        /// `session.memory_budget`: ephemeral events are dropped.
        MemoryEphemerals = "memory_ephemerals",
        /// `session.memory_budget`: the largest queues are given up, to be read again.
        MemorySpills = "memory_spills",
        /// Calls of one method of the Store at once: what would have waited too long failed.
        StoreCalls = "store_calls",
    }
}

label! {
    /// A call of the Store.
    StoreMethod {
        /// Commits a message.
        Send = "Send",
        /// Moves a read mark.
        ReadUpto = "ReadUpto",
        /// Asks what a user may do.
        CheckMembership = "CheckMembership",
        /// Reads old messages.
        GetHistory = "GetHistory",
        /// Lists a user's dialogs.
        ListDialogs = "ListDialogs",
    }
}

label! {
    /// How one attempt of a call went: the status codes of gRPC.
    StoreCode {
        /// 0
        Ok = "ok",
        /// 1
        Cancelled = "cancelled",
        /// 2
        Unknown = "unknown",
        /// 3
        InvalidArgument = "invalid_argument",
        /// 4
        DeadlineExceeded = "deadline_exceeded",
        /// 5
        NotFound = "not_found",
        /// 6
        AlreadyExists = "already_exists",
        /// 7
        PermissionDenied = "permission_denied",
        /// 8
        ResourceExhausted = "resource_exhausted",
        /// 9
        FailedPrecondition = "failed_precondition",
        /// 10
        Aborted = "aborted",
        /// 11
        OutOfRange = "out_of_range",
        /// 12
        Unimplemented = "unimplemented",
        /// 13
        Internal = "internal",
        /// 14
        Unavailable = "unavailable",
        /// 15
        DataLoss = "data_loss",
        /// 16
        Unauthenticated = "unauthenticated",
    }
}

label! {
    /// Whether somebody reads a session.
    SessionState {
        /// Read by one transport.
        Attached = "attached",
        /// Read by nobody right now.
        Detached = "detached",
    }
}

label! {
    /// How a fetch of the keys went.
    FetchOutcome {
        /// It brought a JWK set.
        Ok = "ok",
        /// It did not.
        Failed = "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered_from_zero<L: Label>() {
        let numbers: Vec<_> = L::ALL.iter().map(|value| value.number()).collect();
        assert_eq!(numbers, (0..L::ALL.len()).collect::<Vec<_>>(), "{:?}", L::ALL);
        let mut names: Vec<_> = L::ALL.iter().map(|value| value.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), L::ALL.len(), "a name is there twice");
    }

    #[test]
    fn the_values_of_every_label_are_numbered_and_named_apart() {
        numbered_from_zero::<Transport>();
        numbered_from_zero::<Resume>();
        numbered_from_zero::<GapReason>();
        numbered_from_zero::<Undecodable>();
        numbered_from_zero::<ErrorCode>();
        numbered_from_zero::<RepairReason>();
        numbered_from_zero::<CommandType>();
        numbered_from_zero::<Limit>();
        numbered_from_zero::<StoreMethod>();
        numbered_from_zero::<StoreCode>();
        numbered_from_zero::<SessionState>();
        numbered_from_zero::<FetchOutcome>();
        // Declared elsewhere: a value that was added there must be added here.
        assert_eq!(ErrorCode::Internal.number() + 1, ErrorCode::ALL.len());
        assert_eq!(Undecodable::WrongHeader.number() + 1, Undecodable::ALL.len());
    }
}
