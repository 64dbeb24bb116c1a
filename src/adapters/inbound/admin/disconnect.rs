//! `POST /admin/disconnect`: a user must go, from every node.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use http::header::ORIGIN;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::routes::Admin;
use crate::adapters::inbound::http::reject::Rejection;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::UserId;

/// Largest body, in bytes.
const BODY_MAX_BYTES: usize = 4 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What the kick says why, on the bus.
const REASON: &str = "operator";

#[derive(Deserialize)]
struct Wanted {
    user_id: String,
}

/// Ends all sessions of a user, on every node.
///
/// # Errors
/// A [`Rejection`]: `bad_request` for a body that is not `{"user_id":…}`, `unavailable` when the bus does not answer.
pub(super) async fn disconnect_user(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Rejection> {
    // This listener asks for no credentials: a page in an operator's browser must not be able to use it.
    if headers.contains_key(ORIGIN) {
        return Err(Refusal::new(ErrorCode::Forbidden, "not for web pages").into());
    }
    let reading = axum::body::to_bytes(body, BODY_MAX_BYTES);
    let body = tokio::time::timeout(BODY_TIMEOUT, reading)
        .await
        .map_err(|_| Rejection::of_http(StatusCode::REQUEST_TIMEOUT, "the body took too long"))?
        .map_err(|_| Refusal::new(ErrorCode::TooLarge, "the body is larger than 4 KiB, or broke off"))?;
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|_| Refusal::new(ErrorCode::BadRequest, "the body must be {\"user_id\":…}"))?;
    let user = UserId::parse(&wanted.user_id)
        .map_err(|_| Refusal::new(ErrorCode::BadRequest, "user_id is malformed"))?;
    admin.gateway.kick_user(&user, REASON).await?;
    tracing::info!(user = %user, "an operator has disconnected a user");
    Ok(StatusCode::NO_CONTENT)
}
