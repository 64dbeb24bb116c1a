//! Refusals on the wire: one JSON object, an HTTP status, a WebSocket close code.

use http::StatusCode;
use serde::Serialize;

use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::time::whole_millis;

#[derive(Serialize)]
struct ErrorBody<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#ref: Option<&'a str>,
    code: &'static str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unknown_outcome: bool,
}

/// `{"type":"error",…}`, with the `ref` of the command it answers.
#[must_use]
pub fn error_json(refusal: &Refusal, reference: Option<&str>) -> Vec<u8> {
    super::replies::to_json(&ErrorBody {
        r#type: "error",
        r#ref: reference,
        code: refusal.code.as_str(),
        message: &refusal.message,
        retryable: refusal.code.retryable(),
        retry_after_ms: refusal.retry_after.map(whole_millis),
        unknown_outcome: refusal.unknown_outcome,
    })
}

/// The HTTP status of a code.
#[must_use]
pub fn http_status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest | ErrorCode::UnknownType | ErrorCode::CursorInvalid => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized | ErrorCode::TokenExpired => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::NotMember | ErrorCode::LimitExceeded => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Superseded | ErrorCode::StaleAttach | ErrorCode::Conflict => StatusCode::CONFLICT,
        ErrorCode::SessionGone => StatusCode::GONE,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unavailable | ErrorCode::Overloaded | ErrorCode::Draining => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The WebSocket close code of a code that ends the connection (RFC 6455 §7.4.2: 4000 and above are the application's).
/// The hundreds carry the advice: 40xx don't come back unchanged, 41xx come back after back-off, 42xx at once.
#[must_use]
pub fn close_code(code: ErrorCode) -> u16 {
    match code {
        ErrorCode::BadRequest
        | ErrorCode::UnknownType
        | ErrorCode::CursorInvalid
        | ErrorCode::NotFound
        | ErrorCode::Conflict => 4000,
        ErrorCode::Unauthorized => 4001,
        ErrorCode::Forbidden | ErrorCode::NotMember => 4003,
        ErrorCode::LimitExceeded => 4004,
        ErrorCode::Superseded | ErrorCode::StaleAttach => 4009,
        ErrorCode::SessionGone => 4010,
        ErrorCode::TooLarge => 1009,
        ErrorCode::Internal | ErrorCode::Timeout => 4100,
        ErrorCode::Unavailable | ErrorCode::Overloaded => 4101,
        ErrorCode::RateLimited => 4102,
        ErrorCode::Draining => 4200,
        ErrorCode::TokenExpired => 4201,
    }
}

/// The reader has not taken anything for too long.
pub const CLOSE_SLOW_CONSUMER: u16 = 4103;
/// Nothing came back for too long.
pub const CLOSE_NO_PONG: u16 = 4104;
