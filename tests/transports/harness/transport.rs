//! Which carriage.

use std::fmt;

/// The three transports of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Ws,
    Sse,
    Poll,
}

impl Transport {
    pub(crate) const ALL: [Self; 3] = [Self::Ws, Self::Sse, Self::Poll];

    /// Another one: for tests in which two transports meet.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Ws => Self::Sse,
            Self::Sse => Self::Poll,
            Self::Poll => Self::Ws,
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Ws => "/v1/ws",
            Self::Sse => "/v1/sse",
            Self::Poll => "/v1/poll",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::Poll => "poll",
        })
    }
}
