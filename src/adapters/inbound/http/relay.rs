//! Requests for a session that lives on another node: handed on to it with the caller's own credentials, and its answer
//! handed back as it comes.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, ORIGIN, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use url::form_urlencoded;

use super::asked::{Asked, RELAYED_BY};
use super::credentials::{Caller, Credentials};
use super::edge::Edge;
use super::reject::Rejection;
use crate::adapters::inbound::peers::answer::Answer;
use crate::adapters::inbound::peers::pool::NoAnswer;
use crate::application::ports::auth::Identity;
use crate::application::usecase::attach::unverified;
use crate::application::usecase::relocate::Whereabouts;
use crate::domain::error::{ErrorCode, Refusal};

/// How often a session is looked for anew when the node that should have it says that it has not.
const LOOKS_MAX: usize = 2;
/// The addresses that a request has come by (a convention older than RFC 7239, and the one that everybody speaks).
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What concerns one connection (RFC 9110 §7.6.1), and what this node puts in its own words.
const NOT_HANDED_ON: [HeaderName; 15] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HOST,
    CONTENT_LENGTH,
    EXPECT,
    AUTHORIZATION,
    COOKIE,
    // Looked at where the client is, and not to be taken for the other node's own.
    ORIGIN,
    RELAYED_BY,
    FORWARDED_FOR,
];

/// Who answers a request for a session.
pub enum Answerer {
    /// This node.
    This {
        /// The node that holds the session and seems to be alive.
        held_by: Option<String>,
        /// The node that held the session is gone: it can be rebuilt here.
        adrift: bool,
        /// The request was handed on, and no answer came: it may have been carried out.
        in_doubt: bool,
    },
    /// Another node has.
    Other(Response),
}

impl Answerer {
    const THIS: Self = Self::This { held_by: None, adrift: false, in_doubt: false };
}

/// Finds out who answers a request for this session; another node is asked at once.
///
/// # Errors
/// A [`Refusal`] when that can't be found out, or when the other node takes too long.
pub async fn find(
    edge: &Edge,
    asked: &Asked,
    caller: &Caller,
    session: Option<&str>,
    body: Bytes,
) -> Result<Answerer, Refusal> {
    let Some(session) = session else { return Ok(Answerer::THIS) };
    if !asked.is_relayed() && edge.gateway.has_session(session) {
        return Ok(Answerer::THIS);
    }
    // Boxed: whoever is served here must not carry along what asking another node takes.
    Box::pin(look_elsewhere(edge, asked, caller, session, body)).await
}

async fn look_elsewhere(
    edge: &Edge,
    asked: &Asked,
    caller: &Caller,
    session: &str,
    body: Bytes,
) -> Result<Answerer, Refusal> {
    let mut held_by = None;
    let mut in_doubt = false;
    // A request without a body asks; only what has one says something that could be done twice.
    let may_be_done = |mut refusal: Refusal, handed_on: bool| {
        refusal.unknown_outcome = handed_on && !body.is_empty();
        refusal
    };
    for _ in 0..LOOKS_MAX {
        let (node, address) = match edge
            .gateway
            .whereabouts(&caller.identity, session)
            .await
            .map_err(|refusal| may_be_done(refusal, in_doubt))?
        {
            Whereabouts::Here if asked.is_relayed() && edge.gateway.is_leaving() => {
                return Ok(Answerer::Other(misdirected()));
            }
            Whereabouts::Here => return Ok(Answerer::This { held_by: None, adrift: false, in_doubt }),
            Whereabouts::Adrift => return Ok(Answerer::This { held_by: None, adrift: true, in_doubt }),
            Whereabouts::Elsewhere { .. } if asked.is_relayed() => return Ok(Answerer::Other(misdirected())),
            Whereabouts::Elsewhere { node, address } => (node, address),
        };
        let Ok(address) = address.parse::<Uri>() else {
            tracing::warn!(node, "a node advertises an address that is none");
            return Ok(Answerer::This { held_by: None, adrift: true, in_doubt });
        };
        let request = handed_on(edge, asked, caller, &address, body.clone()).await?;
        match edge.peers.ask(&address, &request).await {
            Ok(answer) if answer.status() == StatusCode::MISDIRECTED_REQUEST => held_by = Some(node),
            Ok(answer) => return Ok(Answerer::Other(handed_back(answer))),
            // It may have been reached before its connection was lost.
            Err(NoAnswer::Unreachable) => {
                return Ok(Answerer::This { held_by: None, adrift: true, in_doubt: true });
            }
            Err(NoAnswer::BrokenOff) => (held_by, in_doubt) = (Some(node), true),
            Err(NoAnswer::TooSlow) => {
                let refusal = Refusal::new(ErrorCode::Timeout, "the session's node took too long");
                return Err(may_be_done(refusal, true));
            }
            Err(NoAnswer::Busy) => {
                return Err(Refusal::new(ErrorCode::Overloaded, "too much waits for other nodes"));
            }
            Err(NoAnswer::Leaving) => {
                return Err(may_be_done(Refusal::new(ErrorCode::Draining, "this node is going away"), true));
            }
        }
    }
    Ok(Answerer::This { held_by, adrift: false, in_doubt })
}

/// The node to be asked to let a session go, so that it can be read here.
///
/// # Errors
/// `unavailable` when that can't be found out.
pub async fn holder(
    edge: &Edge,
    identity: &Identity,
    session: Option<&str>,
) -> Result<Option<String>, Refusal> {
    match session {
        Some(session) if !edge.gateway.has_session(session) => {
            Box::pin(reachable_holder(edge, identity, session)).await
        }
        _ => Ok(None),
    }
}

async fn reachable_holder(
    edge: &Edge,
    identity: &Identity,
    session: &str,
) -> Result<Option<String>, Refusal> {
    if let Whereabouts::Elsewhere { node, address } = edge.gateway.whereabouts(identity, session).await?
        && let Ok(address) = address.parse::<Uri>()
        && edge.peers.is_reachable(&address).await
    {
        return Ok(Some(node));
    }
    Ok(None)
}

/// To a node that has handed a request on: the session is not here, look again (RFC 9110 §15.5.20).
fn misdirected() -> Response {
    let refusal = Refusal::new(ErrorCode::Unavailable, "the session is on another node");
    Rejection::from(refusal).with_status(StatusCode::MISDIRECTED_REQUEST).into_response()
}

async fn handed_on(
    edge: &Edge,
    asked: &Asked,
    caller: &Caller,
    address: &Uri,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Refusal> {
    let mut headers = carried(&asked.headers);
    headers.insert(RELAYED_BY, word(&edge.terms.node)?);
    if let Some(by) = forwarded_for(asked) {
        headers.insert(FORWARDED_FOR, by);
    }
    let mut ticket = None;
    match &caller.credentials {
        Credentials::Token(token) => {
            let mut bearer = word(&format!("Bearer {token}"))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        // It was good once, and here: another one stands for the same caller there.
        Credentials::Ticket(_) => {
            let issued = edge.gateway.tickets().issue(&caller.identity).await;
            ticket = Some(issued.map_err(unverified)?);
        }
    }
    let mut target = address.clone().into_parts();
    target.path_and_query = Some(target_of(&asked.uri, ticket.as_deref())?);
    let uri = Uri::from_parts(target).map_err(|_| unwritable())?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = asked.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

fn carried(headers: &HeaderMap) -> HeaderMap {
    let mut carried = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !NOT_HANDED_ON.contains(name) {
            carried.append(name, value.clone());
        }
    }
    carried
}

/// Whoever the client says it comes from, and whoever it comes from: in this order, as every proxy writes it.
fn forwarded_for(asked: &Asked) -> Option<HeaderValue> {
    let before = asked.headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let peer = asked.peer.map(|peer| peer.ip().to_canonical().to_string());
    let all: Vec<&str> = before.chain(peer.as_deref()).collect();
    if all.is_empty() { None } else { HeaderValue::from_str(&all.join(", ")).ok() }
}

/// The same path and query, but for the credentials in it.
fn target_of(uri: &Uri, ticket: Option<&str>) -> Result<PathAndQuery, Refusal> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        if !matches!(&*name, "ticket" | "access_token") {
            query.append_pair(&name, &value);
        }
    }
    if let Some(ticket) = ticket {
        query.append_pair("ticket", ticket);
    }
    let query = query.finish();
    let target = if query.is_empty() { uri.path().to_owned() } else { format!("{}?{query}", uri.path()) };
    target.parse().map_err(|_| unwritable())
}

fn handed_back(answer: http::Response<Answer>) -> Response {
    let (mut head, body) = answer.into_parts();
    for name in &NOT_HANDED_ON[..7] {
        head.headers.remove(name);
    }
    head.version = http::Version::default();
    Response::from_parts(head, Body::new(body))
}

fn word(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(text).map_err(|_| unwritable())
}

fn unwritable() -> Refusal {
    Refusal::new(ErrorCode::BadRequest, "the request can't be handed on to the session's node")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_keeps_its_query_but_for_credentials() {
        let target =
            |uri: &'static str, ticket| target_of(&Uri::from_static(uri), ticket).unwrap().to_string();
        let same = "/v1/poll?session=s1&cursor=1.2.3&wait_ms=5";
        assert_eq!(target(same, None), same);
        assert_eq!(target("/v1/sessions/s%201", None), "/v1/sessions/s%201");
        assert_eq!(target("/v1/sse?ticket=a&session=s1", Some("b")), "/v1/sse?session=s1&ticket=b");
        assert_eq!(target("/v1/sse?%74icket=a&access_token=c&dialogs=a,b", None), "/v1/sse?dialogs=a%2Cb");
    }

    #[test]
    fn the_client_is_named_behind_whom_it_names() {
        let mut asked = Asked {
            method: http::Method::GET,
            uri: Uri::from_static("/v1/poll"),
            headers: HeaderMap::new(),
            peer: Some("[::ffff:10.0.0.9]:4711".parse().unwrap()),
            client: None,
        };
        assert_eq!(forwarded_for(&asked).unwrap(), "10.0.0.9");
        asked.headers.append(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"));
        asked.headers.append(FORWARDED_FOR, HeaderValue::from_static("2.2.2.2"));
        assert_eq!(forwarded_for(&asked).unwrap(), "1.1.1.1, 2.2.2.2, 10.0.0.9");
        asked.peer = None;
        asked.headers.clear();
        assert_eq!(forwarded_for(&asked), None);
    }

    #[test]
    fn what_concerns_one_connection_or_one_node_is_not_carried() {
        let mut headers = HeaderMap::new();
        for name in NOT_HANDED_ON {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        headers.insert("last-event-id", HeaderValue::from_static("s~c"));
        let carried = carried(&headers);
        assert_eq!(carried.len(), 1);
        assert_eq!(carried["last-event-id"], "s~c");
    }
}
