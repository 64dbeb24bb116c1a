//! Who is there: by the request, or by a `hello`.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderMap;
use tokio::time::timeout;

use super::farewell::{CLOSE_NORMAL, Farewell};
use super::open::Socket;
use crate::adapters::inbound::http::asked::request_context;
use crate::adapters::inbound::http::attach_query::AttachQuery;
use crate::adapters::inbound::http::client::ClientIp;
use crate::adapters::inbound::http::credentials::Credentials;
use crate::adapters::inbound::http::edge::Edge;
use crate::adapters::inbound::http::relay;
use crate::adapters::inbound::websocket::reader::Incoming;
use crate::adapters::inbound::websocket::socket::{Event, SocketError};
use crate::adapters::inbound::wire::commands::{Hello, Said, parse_frame};
use crate::application::ports::auth::{AuthError, Identity};
use crate::application::ports::telemetry::labels::CommandType;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::usecase::attach::unverified;
use crate::application::usecase::reading::Reading;
use crate::domain::error::{ErrorCode, Refusal};
use crate::session::reader::Transport;

/// How long a client without credentials in its request may take to say `hello`.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// What a request brought.
pub(super) struct Asking {
    pub(super) query: Result<AttachQuery, Refusal>,
    pub(super) headers: HeaderMap,
    pub(super) client: Option<ClientIp>,
}

/// Finds out who is there, by the request or by a `hello`, and attaches.
pub(super) async fn admit(
    edge: &Arc<Edge>,
    socket: &mut Socket,
    asking: &Asking,
) -> Result<(Identity, Reading), Farewell> {
    let query = asking.query.as_ref().map_err(Clone::clone)?;
    let found = Credentials::find(edge, &asking.headers, query);
    let found = found.inspect_err(|refusal| edge.note_refused(Transport::WebSocket, refusal))?;
    if let Some(credentials) = found {
        return Ok(attach(edge, query, asking, credentials, Hello::default()).await?);
    }
    let mut hello = wait_for_hello(edge, socket).await?;
    let token = hello.token.take().ok_or_else(|| unverified(AuthError::Unauthorized))?;
    let attached = attach(edge, query, asking, Credentials::Token(token), hello).await;
    let code = attached.as_ref().err().map(|refusal| refusal.code);
    edge.gateway.telemetry().record(Occurrence::Command(CommandType::Hello, code));
    Ok(attached?)
}

async fn attach(
    edge: &Arc<Edge>,
    query: &AttachQuery,
    asking: &Asking,
    credentials: Credentials,
    hello: Hello,
) -> Result<(Identity, Reading), Refusal> {
    let mut input = query.attach_input_with(hello)?;
    if input.session.is_none()
        && let Some(ClientIp(address)) = asking.client
    {
        edge.gateway.note_address_begins(address);
    }
    let verified = credentials.verify(edge).await;
    let identity = verified.inspect_err(|refusal| edge.note_refused(Transport::WebSocket, refusal))?;
    // A WebSocket is not handed on: the session comes here.
    input.held_by = relay::holder(edge, &identity, input.session.as_deref()).await?;
    let reading = match request_context(&asking.headers) {
        Some(request) => Box::pin(request.scope(edge.gateway.attach(&identity, input))).await?,
        None => edge.gateway.attach(&identity, input).await?,
    };
    Ok((identity, reading))
}

async fn wait_for_hello(edge: &Edge, socket: &mut Socket) -> Result<Hello, Farewell> {
    let nobody = || Farewell::from(Refusal::new(ErrorCode::Unauthorized, "no hello with a token in time"));
    let first = timeout(HELLO_TIMEOUT, async {
        loop {
            match socket.event(edge.gateway.clock().tick()).await {
                Some(Ok(Event::Received(Incoming::Text(text)))) => return Ok(text),
                Some(Ok(_)) => {}
                Some(Err(SocketError::Violation(violation))) => {
                    return Err(Farewell::silent(violation.close_code, violation.reason));
                }
                Some(Err(SocketError::Io(_))) | None => {
                    return Err(Farewell::silent(CLOSE_NORMAL, ""));
                }
            }
        }
    });
    let text = first.await.map_err(|_| nobody())??;
    match parse_frame(text.as_bytes()).said? {
        Said::Hello(hello) => Ok(*hello),
        Said::Command(_) => Err(nobody()),
    }
}
