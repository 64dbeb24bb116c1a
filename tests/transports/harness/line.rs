//! One attached carriage: what the three have in common.

use serde_json::Value;

use super::ending::Ended;
use super::poll_line::PollLine;
use super::sse_line::SseLine;
use super::ws_line::WsLine;

/// What came over a line.
#[derive(Debug)]
pub(crate) enum Heard {
    /// One object of the protocol.
    Frame(Value),
    /// Nothing more will come.
    Ended(Ended),
}

/// One attached carriage. Dropping it is the abrupt end: no close frame, no farewell.
#[derive(Debug)]
pub(crate) enum Line {
    Ws(Box<WsLine>),
    Sse(Box<SseLine>),
    Poll(Box<PollLine>),
}

impl Line {
    /// The next thing that comes. Safe to cancel: nothing that came is lost.
    pub(crate) async fn hear(&mut self) -> Heard {
        match self {
            Self::Ws(line) => line.hear().await,
            Self::Sse(line) => line.hear().await,
            Self::Poll(line) => line.hear().await,
        }
    }
}
