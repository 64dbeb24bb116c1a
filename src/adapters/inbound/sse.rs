//! Server-sent events (HTML Living Standard §9.2): one stream, which writes itself into whatever takes it
//! to the client. Nothing runs for it while it is idle.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use tokio::time::{Instant, Sleep, sleep_until};

use super::http::asked::Asked;
use super::http::attach_query::AttachQuery;
use super::http::client::admit_attach;
use super::http::credentials::identify;
use super::http::edge::Edge;
use super::http::reject::Rejection;
use super::http::relay::{self, Answerer};
use super::listener::stream::{Source, stream};
use super::outgoing::with_outgoing;
use super::wire::control::{GoAway, HEARTBEAT_JSON, goaway_json, token_expiring_json};
use super::wire::events::write_prefix;
use crate::application::ports::auth::Identity;
use crate::application::usecase::reading::Reading;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::event::Event;
use crate::domain::ids::SessionId;
use crate::domain::time::whole_millis;
use crate::session::cursor::{Cursor, CursorText};
use crate::session::reader::{DrainBudget, Drained, Outgoing, Transport};

/// A comment of so many bytes comes first: some proxies hold the beginning of a body back.
const PADDING_BYTES: usize = 2048;
/// A stream ends after so many bytes: old browsers keep all of it in memory.
const ROTATE_BYTES: usize = 4 * 1024 * 1024;
/// Shortest wait before a client comes back after the stream's end.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The wait is longer by up to so much: streams that ended together come back apart.
const RETRY_JITTER: Duration = Duration::from_millis(1000);
/// The same, where the node sheds load.
const SHED_RETRY_FIRST: Duration = Duration::from_secs(5);
/// The same, where the node sheds load.
const SHED_RETRY_JITTER: Duration = Duration::from_secs(10);
/// What an event takes beside its body, in bytes: its id, and twice its cursor.
const ROOM_BESIDE_BODY: usize = 256;
/// How much is written at once.
const BUDGET: DrainBudget = DrainBudget { events: 64, bytes: 64 * 1024 };

/// Opens a stream.
///
/// # Errors
/// A [`Rejection`] for what the client must change (400, 401, 403). What will pass by itself is told inside of a
/// stream, since a browser's `EventSource` never comes back after anything but 200.
pub async fn stream_events(
    State(edge): State<Arc<Edge>>,
    query: AttachQuery,
    request: Request,
) -> Result<Response, Rejection> {
    let asked = Asked::of(request.into_parts().0);
    match open(&edge, query, &asked).await {
        Ok(response) => Ok(response),
        Err(refusal) => match shed_reason(&refusal) {
            Some(reason) => {
                // Without a length, like every stream.
                Ok(event_stream(Told(shed(reason))))
            }
            None => Err(refusal.into()),
        },
    }
}

async fn open(edge: &Arc<Edge>, mut query: AttachQuery, asked: &Asked) -> Result<Response, Refusal> {
    // A native EventSource repeats its URL: what it has seen since stands here.
    if let Some((session, cursor)) = last_event_id(&asked.headers) {
        query.session = Some(session);
        query.cursor = cursor;
    }
    admit_attach(&edge.gateway, asked.client, query.session.as_deref(), asked.is_relayed())
        .inspect_err(|refusal| edge.note_refused(Transport::Sse, refusal))?;
    let caller = identify(edge, &asked.headers, &query).await;
    let caller = caller.inspect_err(|refusal| edge.note_refused(Transport::Sse, refusal))?;
    let mut input = query.attach_input(Transport::Sse)?;
    match relay::find(edge, asked, &caller, query.session.as_deref(), Bytes::new()).await? {
        Answerer::Other(answer) => return Ok(answer),
        Answerer::This { held_by, .. } => input.held_by = held_by,
    }
    let reading = asked.scope(edge.gateway.attach(&caller.identity, input)).await?;
    Ok(event_stream(EventStream::new(edge, reading, &caller.identity)))
}

fn last_event_id(headers: &HeaderMap) -> Option<(String, Option<String>)> {
    parse_event_id(headers.get("last-event-id")?.to_str().ok()?)
}

/// Session and cursor of an event's id: `S~CURSOR`, as this server has written it. Neither is looked into.
#[must_use]
pub fn parse_event_id(id: &str) -> Option<(String, Option<String>)> {
    match id.split_once('~') {
        Some((session, cursor)) => Some((session.to_owned(), Some(cursor.to_owned()))),
        None if id.is_empty() => None,
        None => Some((id.to_owned(), None)),
    }
}

fn shed_reason(refusal: &Refusal) -> Option<&'static str> {
    match refusal.code {
        ErrorCode::Draining => Some("draining"),
        ErrorCode::RateLimited => Some("rate_limited"),
        code if code.retryable() => Some("overloaded"),
        _ => None,
    }
}

/// A stream that says only when to come back.
fn shed(reason: &'static str) -> Vec<u8> {
    let retry = jittered(SHED_RETRY_FIRST, SHED_RETRY_JITTER);
    let mut out = Vec::with_capacity(PADDING_BYTES + 256);
    write_padding(&mut out);
    write_retry(retry, &mut out);
    write_data(&goaway_json(&GoAway { reason, reconnect_after: retry, resumable: true }), &mut out);
    out
}

/// All that a stream says.
struct Told(Vec<u8>);

impl Source for Told {
    fn poll_write(&mut self, _: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<bool> {
        out.append(&mut self.0);
        Poll::Ready(false)
    }
}

fn event_stream(source: impl Source + 'static) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, stream(source)).into_response()
}

/// What a stream says.
struct EventStream {
    edge: Arc<Edge>,
    reading: Reading,
    /// Written and not yet taken.
    opening: Option<Box<[u8]>>,
    timer: Pin<Box<Sleep>>,
    heartbeat_at: Instant,
    rotate_at: Instant,
    written_bytes: usize,
}

impl EventStream {
    fn new(edge: &Arc<Edge>, reading: Reading, identity: &Identity) -> Self {
        let now = Instant::now();
        // ±20 %: streams that began together end apart.
        let rotate = edge.config.sse_rotate.mul_f64(0.8 + 0.4 * fastrand::f64());
        let mut stream = Self {
            edge: edge.clone(),
            reading,
            opening: None,
            timer: Box::pin(sleep_until(now)),
            heartbeat_at: now + edge.config.sse_heartbeat,
            rotate_at: now + rotate,
            written_bytes: 0,
        };
        stream.opening = Some(stream.opening_bytes(identity).into());
        // It has been told by then, and may be a list of a thousand.
        stream.reading.subscribed = None;
        stream.set_timer();
        stream
    }

    fn opening_bytes(&self, identity: &Identity) -> Vec<u8> {
        let mut out = Vec::with_capacity(PADDING_BYTES + 1024);
        write_padding(&mut out);
        write_retry(jittered(RETRY_FIRST, RETRY_JITTER), &mut out);
        write_id(self.reading.session().id(), &self.reading.cursor.text(), &mut out);
        write_data(&self.edge.welcome(&self.reading, identity), &mut out);
        out
    }

    fn set_timer(&mut self) {
        let next = self.heartbeat_at.min(self.rotate_at);
        self.timer.as_mut().reset(next);
    }
}

impl Source for EventStream {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<bool> {
        let before = out.len();
        let goes_on = self.poll_append(cx, out);
        self.written_bytes += out.len() - before;
        goes_on
    }
}

impl EventStream {
    fn poll_append(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<bool> {
        if let Some(opening) = self.opening.take() {
            out.extend_from_slice(&opening);
            return Poll::Ready(true);
        }
        let before = out.len();
        loop {
            let drained = with_outgoing(|outgoing| {
                let drained = ready!(self.reading.poll_drain(cx, BUDGET, outgoing));
                write_outgoing(self.reading.session().id(), outgoing, out);
                Poll::Ready(drained)
            });
            match drained {
                Poll::Ready(Drained::Dismissed(dismissal)) => {
                    if let Some(goaway) = GoAway::for_dismissal(dismissal) {
                        write_goaway(&goaway, out);
                    }
                    return Poll::Ready(false);
                }
                // Only what was cut out of the queue: look again.
                Poll::Ready(_) if out.len() == before => continue,
                Poll::Ready(_) if self.written_bytes >= ROTATE_BYTES => {
                    write_rotation(out);
                    return Poll::Ready(false);
                }
                Poll::Ready(_) => return Poll::Ready(true),
                Poll::Pending => {}
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.rotate_at {
                write_rotation(out);
                return Poll::Ready(false);
            }
            write_data(HEARTBEAT_JSON, out);
            self.heartbeat_at = now + self.edge.config.sse_heartbeat;
            self.set_timer();
            return Poll::Ready(true);
        }
    }
}

fn write_outgoing(session: &SessionId, outgoing: &[Outgoing], out: &mut Vec<u8>) {
    for item in outgoing {
        match item {
            Outgoing::Event { cursor, event } => write_event(session, Some(cursor), event, out),
            Outgoing::Ephemeral(event) => write_event(session, None, event, out),
            Outgoing::TokenExpiring(at) => write_data(&token_expiring_json(*at), out),
        }
    }
}

/// The last words of a stream; an `EventSource` comes back by itself.
fn write_goaway(goaway: &GoAway, out: &mut Vec<u8>) {
    write_retry(goaway.reconnect_after.max(jittered(RETRY_FIRST, RETRY_JITTER)), out);
    write_data(&goaway_json(goaway), out);
}

fn write_rotation(out: &mut Vec<u8>) {
    write_goaway(&GoAway { reason: "rotating", reconnect_after: Duration::ZERO, resumable: true }, out);
}

/// Writes one event of a session; what can be resumed after has an id.
pub fn write_event(session: &SessionId, cursor: Option<&Cursor>, event: &Event, out: &mut Vec<u8>) {
    // At once: growing by doubling copies it again and again.
    out.reserve(ROOM_BESIDE_BODY + event.body.len());
    let cursor = cursor.map(Cursor::text);
    if let Some(cursor) = &cursor {
        write_id(session, cursor, out);
    }
    out.extend_from_slice(b"data: ");
    write_prefix(cursor.as_ref(), out);
    out.extend_from_slice(&event.body);
    out.extend_from_slice(b"\n\n");
}

fn write_id(session: &SessionId, cursor: &CursorText, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(session.as_str().as_bytes());
    out.push(b'~');
    out.extend_from_slice(cursor.as_bytes());
    out.push(b'\n');
}

/// One event without an id.
fn write_data(json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
}

fn write_padding(out: &mut Vec<u8>) {
    out.push(b':');
    out.resize(out.len() + PADDING_BYTES, b' ');
    out.extend_from_slice(b"\n\n");
}

fn write_retry(retry: Duration, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("retry: {}\n\n", whole_millis(retry)).as_bytes());
}

fn jittered(first: Duration, jitter: Duration) -> Duration {
    first + jitter.mul_f64(fastrand::f64())
}
