//! How a connection ends: last words, and a close code that carries the advice.

use std::time::Duration;

use super::open::Socket;
use crate::adapters::inbound::wire::control::{GoAway, goaway_json};
use crate::adapters::inbound::wire::errors::{CLOSE_SLOW_CONSUMER, close_code, error_json};
use crate::domain::error::{ErrorCode, Refusal};
use crate::session::reader::Dismissal;

/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// RFC 6455 §7.4.1.
pub(super) const CLOSE_NORMAL: u16 = 1000;

/// How a connection ends: a last frame, a code, and its reason in words.
pub(super) struct Farewell {
    last_words: Option<Vec<u8>>,
    code: u16,
    reason: &'static str,
}

impl Farewell {
    pub(super) fn silent(code: u16, reason: &'static str) -> Self {
        Self { last_words: None, code, reason }
    }

    pub(super) fn slow_consumer() -> Self {
        let goaway = GoAway { reason: "slow_consumer", reconnect_after: Duration::ZERO, resumable: true };
        let last_words = Some(goaway_json(&goaway));
        Self { last_words, code: CLOSE_SLOW_CONSUMER, reason: "slow_consumer" }
    }
}

impl From<Refusal> for Farewell {
    fn from(refusal: Refusal) -> Self {
        Self {
            last_words: Some(error_json(&refusal, None)),
            code: close_code(refusal.code),
            reason: refusal.code.as_str(),
        }
    }
}

impl From<Dismissal> for Farewell {
    fn from(dismissal: Dismissal) -> Self {
        let last_words = GoAway::for_dismissal(dismissal).map(|goaway| goaway_json(&goaway));
        let (code, reason) = match dismissal {
            Dismissal::Superseded => (close_code(ErrorCode::Superseded), "superseded"),
            Dismissal::TokenExpired => (close_code(ErrorCode::TokenExpired), "token_expired"),
            Dismissal::Draining { .. } => (close_code(ErrorCode::Draining), "draining"),
            Dismissal::RateLimited { .. } => (close_code(ErrorCode::RateLimited), "rate_limited"),
            Dismissal::Kicked => (close_code(ErrorCode::Forbidden), "kicked"),
            Dismissal::Deleted | Dismissal::Expired => (close_code(ErrorCode::SessionGone), "session_gone"),
            Dismissal::Bye => (CLOSE_NORMAL, "bye"),
        };
        Self { last_words, code, reason }
    }
}

/// Says it, and closes.
pub(super) async fn part(mut socket: Socket, farewell: Farewell) {
    if let Some(last_words) = farewell.last_words {
        socket.feed_text(&[], last_words.into());
    }
    socket.close(farewell.code, farewell.reason, CLOSE_TIMEOUT).await;
}
