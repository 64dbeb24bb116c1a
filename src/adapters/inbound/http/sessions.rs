//! `POST /v1/tickets` and `DELETE /v1/sessions/S`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum_extra::TypedHeader;
use axum_extra::headers::Authorization;
use axum_extra::headers::authorization::Bearer;
use bytes::Bytes;
use http::StatusCode;

use super::asked::Asked;
use super::attach_query::AttachQuery;
use super::credentials::identify;
use super::edge::Edge;
use super::reject::{Rejection, json};
use super::relay::{self, Answerer};
use crate::adapters::inbound::wire::control::ticket_json;
use crate::application::ports::auth::{AuthError, TICKET_TTL};
use crate::application::usecase::attach::unverified;

/// Trades a token for a ticket that is good once.
///
/// # Errors
/// A [`Rejection`] for a token that doesn't verify; only `Authorization` counts here.
pub async fn issue_ticket(
    State(edge): State<Arc<Edge>>,
    bearer: Option<TypedHeader<Authorization<Bearer>>>,
) -> Result<Response, Rejection> {
    let Some(TypedHeader(bearer)) = bearer else {
        return Err(unverified(AuthError::Unauthorized).into());
    };
    let identity = edge.gateway.auth().verify(bearer.token()).await.map_err(unverified)?;
    let ticket = edge.gateway.tickets().issue(&identity).await.map_err(unverified)?;
    Ok(json(ticket_json(&ticket, TICKET_TTL)).into_response())
}

/// Ends a session now.
///
/// # Errors
/// A [`Rejection`]: `session_gone` also for another user's.
pub async fn delete_session(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    query: AttachQuery,
    asked: Asked,
) -> Result<Response, Rejection> {
    let caller = identify(&edge, &asked.headers, &query).await?;
    match relay::find(&edge, &asked, &caller, Some(&session), Bytes::new()).await? {
        Answerer::Other(answer) => Ok(answer),
        Answerer::This { .. } => {
            edge.gateway.delete_session(&caller.identity, &session).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}
