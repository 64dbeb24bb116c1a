//! The upgrade, and the task that a connection is from then on.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tokio_util::task::TaskTracker;

use super::admit::{Asking, admit};
use super::connection::Connection;
use super::farewell::{Farewell, part};
use crate::adapters::inbound::http::asked::request_context;
use crate::adapters::inbound::http::attach_query::AttachQuery;
use crate::adapters::inbound::http::client::{ClientIp, admit_connect};
use crate::adapters::inbound::http::edge::Edge;
use crate::adapters::inbound::http::reject::Rejection;
use crate::adapters::inbound::listener::slot::ConnectionSlot;
use crate::adapters::inbound::listener::transport::Transport as Stream;
use crate::adapters::inbound::listener::upgrade::Upgrade;
use crate::adapters::inbound::websocket::handshake;
use crate::adapters::inbound::websocket::reader::MessageLimits;
use crate::adapters::inbound::websocket::socket::WebSocket;
use crate::application::admission::Connect;
use crate::application::trace::RequestContext;

/// The subprotocol of RFC 6455 §1.9 that this server speaks.
pub const SUBPROTOCOL: &str = "edgeway.v1";

/// What is spoken over: cleartext or TLS, or a stream of HTTP/2.
pub(super) type Socket = WebSocket<Stream>;

/// Upgrades the connection. What is wrong with the request itself is answered by HTTP; what is wrong with credentials,
/// session or cursor afterwards, since a browser can't see an HTTP status here.
///
/// # Errors
/// A [`Rejection`] with the headers that RFC 6455 §4.4 wants.
pub async fn open_websocket(
    State(edge): State<Arc<Edge>>,
    mut request: Request,
) -> Result<Response, Response> {
    let accepted = handshake::accept(&mut request, SUBPROTOCOL).map_err(|error| {
        let mut response =
            Rejection::of_http(error.status(), "not a WebSocket request of this protocol").into_response();
        response.headers_mut().extend(error.headers());
        response
    })?;
    let query = AttachQuery::read(request.uri());
    let headers = request.headers().clone();
    // The connection counts until it ends here, not until HTTP lets go of it.
    let slot = request.extensions().get::<ConnectionSlot>().cloned();
    let client = request.extensions().get::<ClientIp>().copied();
    // Like going on, as long as nobody knows better: the session may be named in a `hello`.
    let admitted = admit_connect(&edge.gateway, client, Connect::GoOn);
    let (head, ()) = accepted.response.into_parts();
    let asking = Asking { query: admitted.and(query), headers, client };
    let tasks = edge.tasks.clone();
    // Boxed, and out here: what a task is given to begin with stays in it, and it should be as small as it is while it waits.
    let begun = Box::pin(begin(edge, accepted.upgrade, accepted.deflates, asking));
    tasks.clone().spawn(serve(begun, tasks, slot));
    Ok(Response::from_parts(head, axum::body::Body::empty()))
}

/// The task of a connection.
async fn serve<B: Future<Output = Begun>>(
    begun: Pin<Box<B>>,
    tasks: TaskTracker,
    slot: Option<ConnectionSlot>,
) {
    let parting = match begun.await {
        Some(Ok((mut connection, request))) => {
            let serving = poll_fn(|cx| connection.poll(cx));
            let farewell = match request {
                Some(request) => Box::pin(request.scope(serving)).await,
                None => serving.await,
            };
            let (socket, unheard) = connection.into_parts();
            if let Some(unheard) = unheard {
                tasks.spawn(unheard.carry_out());
            }
            farewell.map(|farewell| Box::new((socket, farewell)))
        }
        Some(Err(parting)) => Some(parting),
        None => None,
    };
    if let Some(parting) = parting {
        let (socket, farewell) = *parting;
        Box::pin(part(socket, farewell)).await;
    }
    drop(slot);
}

/// An attached connection and the trace it belongs to, or one that is sent away. `None`: there is nobody any more.
type Begun = Option<Result<(Box<Connection>, Option<Box<RequestContext>>), Box<(Socket, Farewell)>>>;

/// From the upgrade to an attached connection.
async fn begin(edge: Arc<Edge>, upgrade: Upgrade, deflates: bool, asking: Asking) -> Begun {
    // All that is said here belongs to the trace of the request that opened it; each command has an id of its own.
    let request = request_context(&asking.headers).filter(|request| request.trace.is_some());
    let request = request.map(|request| Box::new(RequestContext { request_id: None, ..request }));
    let limits = MessageLimits::of_bytes(edge.config.ws_frame_bytes);
    let (stream, read_ahead) = upgrade.connection().await?;
    let mut socket: Socket = WebSocket::new(stream, read_ahead, limits);
    if deflates {
        socket.deflate();
    }
    let admitted = admit(&edge, &mut socket, &asking).await;
    Some(match admitted {
        Ok((identity, reading)) => Ok((Box::new(Connection::new(edge, socket, identity, reading)), request)),
        Err(farewell) => Err(Box::new((socket, farewell))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_of_a_connection_is_small() {
        let begun = Box::pin(std::future::ready(None));
        let task = serve(begun, TaskTracker::new(), None);
        assert!(size_of_val(&task) <= 128, "{}", size_of_val(&task));
    }
}
