//! What a client is told when something can't be done.

use std::borrow::Cow;
use std::time::Duration;

/// The protocol's error codes. Transports map them to an HTTP status or a WebSocket close code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The input is malformed.
    BadRequest,
    /// The command's type is not one of the protocol's.
    UnknownType,
    /// The cursor can't be of this session, or is ahead of it.
    CursorInvalid,
    /// No credentials, or they don't verify.
    Unauthorized,
    /// The token was good once.
    TokenExpired,
    /// Not with these credentials.
    Forbidden,
    /// The user doesn't belong to the dialog.
    NotMember,
    /// There is no such thing.
    NotFound,
    /// Too many sessions or subscriptions.
    LimitExceeded,
    /// A newer attach took the session over.
    Superseded,
    /// An older attach arrived late.
    StaleAttach,
    /// The same client message id with another body or dialog.
    Conflict,
    /// There is no such session any more.
    SessionGone,
    /// Larger than allowed.
    TooLarge,
    /// Too often.
    RateLimited,
    /// The Store or the bus doesn't answer.
    Unavailable,
    /// This node has too much to do.
    Overloaded,
    /// This node is going away.
    Draining,
    /// The Store took too long.
    Timeout,
    /// Our own fault.
    Internal,
}

impl ErrorCode {
    /// The code's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownType => "unknown_type",
            Self::CursorInvalid => "cursor_invalid",
            Self::Unauthorized => "unauthorized",
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::NotMember => "not_member",
            Self::NotFound => "not_found",
            Self::LimitExceeded => "limit_exceeded",
            Self::Superseded => "superseded",
            Self::StaleAttach => "stale_attach",
            Self::Conflict => "conflict",
            Self::SessionGone => "session_gone",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::Unavailable
                | Self::Overloaded
                | Self::Draining
                | Self::Timeout
                | Self::Internal
        )
    }
}

/// A refusal, in words that are safe to show: they never repeat the input or name internals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Refusal {
    /// What kind.
    pub code: ErrorCode,
    /// In words.
    pub message: Cow<'static, str>,
    /// When to try again, if that is known.
    pub retry_after: Option<Duration>,
    /// Whether the thing may have been done all the same.
    pub unknown_outcome: bool,
}

impl Refusal {
    /// A refusal with nothing but a code and words.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after: None, unknown_outcome: false }
    }

    /// The same, to be tried again after a while.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}
