//! `/dev`: tokens for whoever asks, dialogs for whoever wants them. Only where everything runs in one process.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Notify;

use crate::adapters::inbound::http::edge::Edge;
use crate::adapters::inbound::http::origin;
use crate::adapters::inbound::http::reject::Rejection;
use crate::adapters::outbound::auth::issuer::TokenIssuer;
use crate::application::ports::auth::Scopes;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::{DialogId, UserId};
use crate::reference_store::dialogs::Dialogs;
use crate::reference_store::failure::Failure;
use crate::reference_store::role::{Member, MemberRole};

/// How long a development token is good, if nobody says.
pub const TOKEN_TTL: Duration = Duration::from_secs(60 * 60);

/// What the routes need.
pub struct Development {
    /// Issues tokens to whoever asks.
    pub issuer: TokenIssuer,
    /// The Store's dialogs.
    pub dialogs: Dialogs,
    /// Told when somebody wants the node dead.
    pub death_wanted: Arc<Notify>,
}

/// The routes; foreign pages are turned away here, too.
pub fn routes(edge: Arc<Edge>, development: Arc<Development>) -> Router {
    let guard = from_fn_with_state(edge, origin::guard);
    Router::new()
        .route("/dev/token", post(issue_token))
        .route("/dev/jwks.json", get(jwks))
        .route("/dev/dialogs", post(create_dialog))
        .route("/dev/dialogs/{dialog}/members/{user}", put(add_member).delete(remove_member))
        .route("/dev/kill", post(kill))
        .layer(guard)
        .with_state(development)
}

#[derive(Deserialize)]
struct TokenRequest {
    user_id: String,
    /// `messages:read messages:write`, or less.
    scope: Option<String>,
    /// How long it is good.
    ttl_s: Option<u64>,
}

async fn issue_token(State(dev): State<Arc<Development>>, body: Bytes) -> Result<Response, Rejection> {
    let request: TokenRequest = parse(&body)?;
    let user = user_id(&request.user_id)?;
    let scopes = match request.scope.as_deref() {
        None => Scopes { read: true, write: true },
        Some(scope) => Scopes {
            read: scope.split(' ').any(|word| word == "messages:read"),
            write: scope.split(' ').any(|word| word == "messages:write"),
        },
    };
    let ttl = request.ttl_s.map_or(TOKEN_TTL, Duration::from_secs);
    let issued = dev
        .issuer
        .issue(&user, ttl, scopes)
        .map_err(|_| Refusal::new(ErrorCode::BadRequest, "no such token can be issued"))?;
    Ok(Json(json!({ "token": issued.token, "expires_at": issued.expires_at.to_string() })).into_response())
}

async fn jwks(State(dev): State<Arc<Development>>) -> Response {
    Json(dev.issuer.jwks()).into_response()
}

#[derive(Deserialize)]
struct DialogRequest {
    dialog_id: String,
    #[serde(default)]
    members: Vec<String>,
}

async fn create_dialog(State(dev): State<Arc<Development>>, body: Bytes) -> Result<Response, Rejection> {
    let request: DialogRequest = parse(&body)?;
    let members = request.members.iter().map(|name| member(name)).collect::<Result<_, _>>()?;
    dev.dialogs.create_dialog(dialog_id(&request.dialog_id)?, members, None).await.map_err(failed)?;
    Ok((StatusCode::CREATED, Json(json!({ "dialog_id": request.dialog_id }))).into_response())
}

async fn add_member(
    State(dev): State<Arc<Development>>,
    Path((dialog, user)): Path<(String, String)>,
) -> Result<StatusCode, Rejection> {
    dev.dialogs.add_member(dialog_id(&dialog)?, member(&user)?, None).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_member(
    State(dev): State<Arc<Development>>,
    Path((dialog, user)): Path<(String, String)>,
) -> Result<StatusCode, Rejection> {
    dev.dialogs.remove_member(dialog_id(&dialog)?, user_id(&user)?, None).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The node dies a moment later: its connections, sessions and queues are gone, as by `kill -9`.
async fn kill(State(dev): State<Arc<Development>>) -> StatusCode {
    dev.death_wanted.notify_one();
    StatusCode::ACCEPTED
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|_| Refusal::new(ErrorCode::BadRequest, "the body is not what this path takes"))
}

fn dialog_id(text: &str) -> Result<DialogId, Refusal> {
    DialogId::parse(text).map_err(|_| Refusal::new(ErrorCode::BadRequest, "dialog_id is malformed"))
}

fn user_id(text: &str) -> Result<UserId, Refusal> {
    UserId::parse(text).map_err(|_| Refusal::new(ErrorCode::BadRequest, "user_id is malformed"))
}

fn member(name: &str) -> Result<Member, Refusal> {
    Ok(Member { user_id: user_id(name)?, role: MemberRole::default() })
}

fn failed(failure: Failure) -> Refusal {
    match failure {
        Failure::Invalid(_) => Refusal::new(ErrorCode::BadRequest, "the store refuses the request"),
        Failure::NotMember => Refusal::new(ErrorCode::NotMember, "not a member of the dialog"),
        Failure::NotFound => Refusal::new(ErrorCode::NotFound, "there is no such dialog"),
        Failure::Conflict | Failure::DialogExists => {
            Refusal::new(ErrorCode::Conflict, "the dialog has been created before")
        }
        Failure::Unavailable => Refusal::new(ErrorCode::Unavailable, "the store does not answer"),
        Failure::Internal => Refusal::new(ErrorCode::Internal, "the store failed"),
    }
}
