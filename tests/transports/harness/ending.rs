//! How an attach was refused, or a line ended.

use serde_json::Value;

use super::check;

/// The end of a line, in whatever way its carriage tells it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended {
    /// The HTTP status, where an HTTP answer was the end.
    pub(crate) status: Option<u16>,
    /// The WebSocket close code.
    pub(crate) close: Option<u16>,
    /// The error object: an HTTP body, or the last `error` frame that answered no command.
    pub(crate) error: Option<Value>,
    /// The last `goaway`.
    pub(crate) goaway: Option<Value>,
    /// What else there is to say.
    pub(crate) note: String,
}

impl Ended {
    /// The error's code, or nothing.
    pub(crate) fn code(&self) -> &str {
        self.error.as_ref().and_then(|error| error["code"].as_str()).unwrap_or_default()
    }

    /// Why the server said `goaway`, or nothing.
    pub(crate) fn goaway_reason(&self) -> &str {
        self.goaway.as_ref().and_then(|goaway| goaway["reason"].as_str()).unwrap_or_default()
    }

    /// The refusal is this one, told as its carriage tells it: an error object, with its HTTP status or close code.
    #[track_caller]
    pub(crate) fn assert_refused(&self, code: &str) {
        let Some(error) = &self.error else {
            panic!("expected the error {code}, the line ended so: {self:?}")
        };
        check::error(error, code);
        assert!(self.status.is_some() || self.close.is_some(), "neither status nor close code: {self:?}");
        if let Some(status) = self.status {
            assert_eq!(status, http_status(code), "the HTTP status of {code}: {self:?}");
        }
        if let Some(close) = self.close {
            assert_eq!(Some(close), close_code(code), "the close code of {code}: {self:?}");
        }
    }
}

/// The HTTP status of an error code (protocol, errors).
pub(crate) fn http_status(code: &str) -> u16 {
    match code {
        "bad_request" | "unknown_type" | "cursor_invalid" => 400,
        "unauthorized" | "token_expired" => 401,
        "forbidden" | "not_member" | "limit_exceeded" => 403,
        "not_found" => 404,
        "superseded" | "stale_attach" | "conflict" => 409,
        "session_gone" => 410,
        "too_large" => 413,
        "rate_limited" => 429,
        "unavailable" | "overloaded" | "draining" => 503,
        "timeout" => 504,
        "internal" => 500,
        other => panic!("{other:?} is no code of the protocol"),
    }
}

/// The WebSocket close code of an error code that ends the connection.
fn close_code(code: &str) -> Option<u16> {
    match code {
        "bad_request" | "unknown_type" | "cursor_invalid" => Some(4000),
        "unauthorized" => Some(4001),
        "token_expired" => Some(4201),
        "forbidden" | "not_member" => Some(4003),
        "limit_exceeded" => Some(4004),
        "superseded" | "stale_attach" => Some(4009),
        "session_gone" => Some(4010),
        "too_large" => Some(1009),
        "rate_limited" => Some(4102),
        "unavailable" | "overloaded" => Some(4101),
        "draining" => Some(4200),
        "internal" => Some(4100),
        _ => None,
    }
}
