//! Refusals as HTTP answers.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::adapters::inbound::wire::errors::{error_json, http_status};
use crate::domain::error::{ErrorCode, Refusal};

/// When to come back, if nobody knows better: `Retry-After` of 429 and 503, in seconds.
const RETRY_AFTER_DEFAULT_SECS: u64 = 1;

/// A refusal on its way out; with another status than its code has, where HTTP wants one.
#[derive(Debug, Clone)]
pub struct Rejection {
    refusal: Refusal,
    status: StatusCode,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let status = http_status(refusal.code);
        Self { refusal, status }
    }
}

impl Rejection {
    /// Whether the client has to change something: its credentials, its session, its cursor.
    #[must_use]
    pub fn is_the_clients(&self) -> bool {
        matches!(
            self.refusal.code,
            ErrorCode::BadRequest
                | ErrorCode::CursorInvalid
                | ErrorCode::Unauthorized
                | ErrorCode::TokenExpired
                | ErrorCode::Forbidden
                | ErrorCode::SessionGone
        )
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// One of HTTP's own refusals: `not_found` for 404, `timeout` for 408, `too_large` for 413, else `bad_request`.
    #[must_use]
    pub fn of_http(status: StatusCode, message: &'static str) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND => ErrorCode::NotFound,
            StatusCode::REQUEST_TIMEOUT => ErrorCode::Timeout,
            StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
            _ => ErrorCode::BadRequest,
        };
        Self { refusal: Refusal::new(code, message), status }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut response = (self.status, json(error_json(&self.refusal, None))).into_response();
        let headers = response.headers_mut();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(RETRY_AFTER, retry_after_secs(self.refusal.retry_after).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §15.5.2 wants a challenge.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Whole seconds (RFC 9110 §10.2.3), rounded up: who comes back by them does not come too early.
fn retry_after_secs(after: Option<Duration>) -> u64 {
    after.map_or(RETRY_AFTER_DEFAULT_SECS, |after| after.as_millis().div_ceil(1000) as u64).max(1)
}

/// A JSON answer that nobody may keep.
pub fn json(body: Vec<u8>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_never_earlier_than_what_the_body_says() {
        let secs = |millis| retry_after_secs(Some(Duration::from_millis(millis)));
        assert_eq!([secs(0), secs(1), secs(1000), secs(1001), secs(1900)], [1, 1, 1, 2, 2]);
        assert_eq!(retry_after_secs(None), RETRY_AFTER_DEFAULT_SECS);
    }
}
