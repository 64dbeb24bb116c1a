//! `POST /v1/commands`: what a session that reads by SSE or long-poll has to say.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::asked::Asked;
use super::attach_query::AttachQuery;
use super::credentials::identify;
use super::edge::Edge;
use super::reject::{Rejection, json};
use super::relay::{self, Answerer};
use crate::adapters::inbound::wire::commands::{Parsed, Said, parse_batch};
use crate::adapters::inbound::wire::errors::error_json;
use crate::adapters::inbound::wire::replies::reply_json;
use crate::application::command::{Command, Reply};
use crate::application::ports::auth::Identity;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::sessions::lanes::Lane;
use crate::application::sessions::live::LiveSession;
use crate::application::usecase::attach::session_gone;
use crate::domain::error::{ErrorCode, Refusal};

/// Largest body, in bytes.
pub const COMMANDS_BODY_MAX_BYTES: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Works a batch off, one command after the other; every command is answered.
///
/// # Errors
/// A [`Rejection`] of the whole batch: then nothing was done here. With `unknown_outcome`, another node was asked first,
/// and may have done it.
pub async fn post_commands(
    State(edge): State<Arc<Edge>>,
    query: AttachQuery,
    asked: Asked,
    body: Body,
) -> Result<Response, Rejection> {
    let caller = identify(&edge, &asked.headers, &query).await?;
    let named = query.session.as_deref();
    let named = named.ok_or_else(|| Refusal::new(ErrorCode::BadRequest, "session is missing"))?;
    let (session, body) = match edge.gateway.require_session(&caller.identity, named) {
        Ok(session) => {
            require_json(&asked.headers)?;
            (session, read_body(body).await?)
        }
        Err(gone) => {
            // As a whole: should the other node not answer, it is this one's to work off.
            let body = read_body(body).await?;
            match relay::find(&edge, &asked, &caller, Some(named), body.clone()).await? {
                Answerer::Other(answer) => return Ok(answer),
                Answerer::This { held_by: None, adrift: false, in_doubt: false } => return Err(gone.into()),
                Answerer::This { held_by, in_doubt, .. } => {
                    require_json(&asked.headers)?;
                    let rescue = edge.gateway.rescue(&caller.identity, named, held_by);
                    let rescued = asked.scope(rescue).await;
                    (rescued.map_err(|refusal| Refusal { unknown_outcome: in_doubt, ..refusal })?, body)
                }
            }
        }
    };
    edge.gateway.require_good_conduct(&session)?;
    let identity = Arc::new(caller.identity);
    edge.gateway.telemetry().record(Occurrence::Received(body.len() as u64));
    let batch = parse_batch(&body)?;
    drop(body);

    // One batch at a time per session: the next one waits here. Whose client goes away before its turn is not begun.
    let mut turn = session.lanes.enter(Lane::Batch);
    turn.wait().await;
    let (answer, answered) = oneshot::channel();
    let speaker = Speaker { edge: edge.clone(), identity, session };
    edge.tasks.spawn(async move {
        let replies = asked.scope(speaker.work_off(batch, || answer.is_closed())).await;
        drop(turn);
        // Nobody may be there to hear it: the sends are remembered, and answered again when they are repeated.
        let _ = answer.send(replies);
    });
    let replies = answered.await.map_err(|_| Refusal::new(ErrorCode::Internal, "the commands failed"))?;
    Ok(json(replies).into_response())
}

/// Who has posted commands.
struct Speaker {
    edge: Arc<Edge>,
    identity: Arc<Identity>,
    session: Arc<LiveSession>,
}

impl Speaker {
    /// Works a batch off that has had its turn, also if its client goes away meanwhile: nothing is cut off in the middle
    /// of a send, and what a closing page has said counts. As for a WebSocket's, there is a time for it; what is begun by
    /// then is finished.
    async fn work_off(&self, batch: Vec<Parsed>, is_gone: impl Fn() -> bool) -> Vec<u8> {
        let patience = self.edge.gateway.config().send_patience;
        let mut until = None;
        let mut replies = b"{\"replies\":[".to_vec();
        for (index, parsed) in batch.into_iter().enumerate() {
            if is_gone() && Instant::now() > *until.get_or_insert_with(|| Instant::now() + patience) {
                break;
            }
            if index > 0 {
                replies.push(b',');
            }
            replies.extend_from_slice(&self.answer(parsed).await);
        }
        replies.extend_from_slice(b"]}");
        replies
    }

    async fn answer(&self, parsed: Parsed) -> Vec<u8> {
        let reference = parsed.reference.as_deref();
        match self.carry_out(parsed.said).await {
            Ok(reply) => reply_json(&reply, reference),
            Err(refusal) => error_json(&refusal, reference),
        }
    }

    async fn carry_out(&self, said: Result<Said, Refusal>) -> Result<Reply, Refusal> {
        let gateway = &self.edge.gateway;
        let said = said.map_err(|refusal| gateway.refuse_malformed(&self.session, refusal))?;
        let command: Command = match said {
            Said::Command(command) => command,
            Said::Hello(_) => {
                return Err(Refusal::new(ErrorCode::BadRequest, "hello is a WebSocket's first frame"));
            }
        };
        // A `bye` earlier in the batch has ended it.
        if self.session.peek(|machine| machine.ended().is_some()) {
            return Err(session_gone());
        }
        gateway.carry_out(&self.identity, &self.session, command).await
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Rejection> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Rejection::of_http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"))
}

async fn read_body(body: Body) -> Result<Bytes, Rejection> {
    // Told at once if the length is: nobody who asks whether to go on (`Expect: 100-continue`) is told to.
    if body.size_hint().lower() > COMMANDS_BODY_MAX_BYTES as u64 {
        return Err(too_large());
    }
    let collected = Limited::new(body, COMMANDS_BODY_MAX_BYTES).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Rejection::of_http(StatusCode::BAD_REQUEST, "the body could not be read")),
        Err(_) => Err(Rejection::of_http(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

fn too_large() -> Rejection {
    Refusal::new(ErrorCode::TooLarge, "the body is larger than 64 KiB").into()
}
