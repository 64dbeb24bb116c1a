//! Refusals as HTTP answers.

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
            let after =
                self.refusal.retry_after.map_or(RETRY_AFTER_DEFAULT_SECS, |after| after.as_secs().max(1));
            headers.insert(RETRY_AFTER, after.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §15.5.2 wants a challenge.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A JSON answer that nobody may keep.
pub fn json(body: Vec<u8>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body)
}
