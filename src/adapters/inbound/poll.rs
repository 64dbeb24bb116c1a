//! Long-poll: each request is an attach, and only the next one's cursor acknowledges what this one carries.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep};

use super::http::asked::Asked;
use super::http::attach_query::AttachQuery;
use super::http::client::{ClientIp, admit_attach};
use super::http::credentials::identify;
use super::http::edge::Edge;
use super::http::reject::{Rejection, json};
use super::http::relay::{self, Answerer};
use super::listener::later::later;
use super::outgoing::with_outgoing;
use super::wire::control::{GoAway, goaway_json, token_expiring_json};
use super::wire::events::write_prefix;
use crate::application::gateway::Gateway;
use crate::application::ports::auth::{AuthError, Identity};
use crate::application::usecase::attach::{session_gone, unverified};
use crate::application::usecase::reading::Reading;
use crate::domain::error::{ErrorCode, Refusal};
use crate::session::reader::{Dismissal, DrainBudget, Drained, Outgoing, Transport};

/// Longest wait, in milliseconds; more is clamped.
pub const POLL_WAIT_MAX_MS: u64 = 55_000;
/// How long a poll lingers after its first event, so that what comes together goes together.
const LINGER: Duration = Duration::from_millis(5);
/// Most events in one answer.
const POLL_EVENTS_MAX: usize = 500;
/// Most bytes of events in one answer; a single event always passes.
const POLL_BYTES_MAX: usize = 256 * 1024;
/// Room in an answer for all but its events.
const AROUND_EVENTS_BYTES: usize = 192;
/// The wait is shortened by up to one part in so many: polls that began together drift apart.
const WAIT_JITTER_PART: u64 = 5;

/// Answers with what the client does not have yet, as soon as there is any.
///
/// # Errors
/// A [`Rejection`]: credentials, `session_gone`, `cursor_invalid`, `stale_attach`, `superseded`.
pub async fn poll(
    State(edge): State<Arc<Edge>>,
    query: AttachQuery,
    request: Request,
) -> Result<Response, Rejection> {
    let asked = Asked::of(request.into_parts().0);
    let Some(session) = query.session.clone() else {
        admit_attach(&edge.gateway, asked.client, None, asked.is_relayed())
            .inspect_err(|refusal| edge.note_refused(Transport::Poll, refusal))?;
        return begin(&edge, query, asked).await;
    };
    // Going on is no connect; being turned away is one.
    let turned_away = TurnedAway { client: asked.client, relayed: asked.is_relayed() };
    match go_on(&edge, query, asked).await {
        Ok(Answered::Now(response)) => Ok(response),
        // A poll waits long, and should hold no more than it needs for that.
        Ok(Answered::Waits(mut waiting)) => Ok(later(async move {
            let answered = poll_fn(|cx| waiting.poll(cx)).await;
            let (gateway, session) = (waiting.reading.gateway(), waiting.reading.session().id().as_str());
            answered.or_else(|refusal| turned_away.count(gateway, session, refusal)).into_response()
        })),
        Err(refusal) => turned_away.count(&edge.gateway, &session, refusal),
    }
}

/// Who may have to be turned away.
struct TurnedAway {
    client: Option<ClientIp>,
    relayed: bool,
}

impl TurnedAway {
    /// Counts it as a connect if it is the client's fault.
    fn count(&self, gateway: &Gateway, session: &str, refusal: Rejection) -> Result<Response, Rejection> {
        if refusal.is_the_clients() {
            admit_attach(gateway, self.client, Some(session), self.relayed)?;
        }
        Err(refusal)
    }
}

/// The first poll, which waits for nothing.
async fn begin(edge: &Arc<Edge>, query: AttachQuery, asked: Asked) -> Result<Response, Rejection> {
    match attach(edge, query, asked).await? {
        Attached::Elsewhere(answer) => Ok(answer),
        Attached::Here { reading, identity, .. } => {
            let mut answer = Answer::default();
            answer.add(&edge.welcome(&reading, &identity));
            Ok(answer.finish(&reading, false))
        }
    }
}

enum Answered {
    Now(Response),
    Waits(Waiting),
}

async fn go_on(edge: &Arc<Edge>, query: AttachQuery, asked: Asked) -> Result<Answered, Rejection> {
    Ok(match attach(edge, query, asked).await? {
        Attached::Elsewhere(answer) => Answered::Now(answer),
        Attached::Here { reading, wait, .. } => Answered::Waits(Waiting::new(reading, wait)),
    })
}

enum Attached {
    Elsewhere(Response),
    Here { reading: Reading, identity: Identity, wait: Duration },
}

async fn attach(edge: &Arc<Edge>, query: AttachQuery, asked: Asked) -> Result<Attached, Rejection> {
    let caller = identify(edge, &asked.headers, &query).await;
    let caller = caller.inspect_err(|refusal| edge.note_refused(Transport::Poll, refusal))?;
    let wait = wait_of(edge, &query)?;
    let mut input = query.attach_input(Transport::Poll)?;
    match relay::find(edge, &asked, &caller, query.session.as_deref(), Bytes::new()).await? {
        Answerer::Other(answer) => return Ok(Attached::Elsewhere(answer)),
        Answerer::This { held_by, .. } => input.held_by = held_by,
    }
    let reading = asked.scope(Box::pin(edge.gateway.attach(&caller.identity, input))).await?;
    Ok(Attached::Here { reading, identity: caller.identity, wait })
}

/// A poll that waits for events.
struct Waiting {
    reading: Reading,
    /// Boxed, and made for the first event: what waits has none.
    answer: Option<Box<Answer>>,
    /// Until when it waits for the first event, or for what comes together with it.
    deadline: Pin<Box<Sleep>>,
}

impl Waiting {
    fn new(reading: Reading, wait: Duration) -> Self {
        Self { reading, answer: None, deadline: Box::pin(sleep(wait)) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response, Rejection>> {
        let more = ready!(self.poll_fill(cx));
        let answer = self.answer.take().map_or_else(Answer::default, |answer| *answer);
        Poll::Ready(match more {
            Ok(more) => Ok(answer.finish(&self.reading, more)),
            Err(dismissal) => dismissed(dismissal, answer, &self.reading),
        })
    }

    /// Waits for the first events, then a moment longer. `Ok(true)`: there is more than fits.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Dismissal>> {
        loop {
            let lingers = self.answer.is_some();
            let room = self.answer.as_ref().map_or_else(|| Answer::default().room(), |answer| answer.room());
            if self.answer.as_ref().is_some_and(|answer| answer.is_full()) {
                return Poll::Ready(Ok(true));
            }
            // What is there already is taken even when there is no time to wait.
            let drained = with_outgoing(|outgoing| {
                let drained = self.reading.poll_drain(cx, room, outgoing);
                for item in outgoing.iter() {
                    self.answer.get_or_insert_default().write(item);
                }
                drained
            });
            match drained {
                // What is written so far is told by the cursor; the reason comes with the next poll.
                Poll::Ready(Drained::Dismissed(dismissal))
                    if lingers && dismissal != Dismissal::Superseded =>
                {
                    return Poll::Ready(Ok(false));
                }
                Poll::Ready(Drained::Dismissed(dismissal)) => return Poll::Ready(Err(dismissal)),
                Poll::Ready(Drained::More) => return Poll::Ready(Ok(true)),
                Poll::Ready(Drained::Empty) if !lingers && self.answer.is_some() => {
                    self.deadline.as_mut().reset(Instant::now() + LINGER);
                }
                Poll::Ready(Drained::Empty) => {}
                Poll::Pending => return self.deadline.as_mut().poll(cx).map(|()| Ok(false)),
            }
        }
    }
}

fn wait_of(edge: &Edge, query: &AttachQuery) -> Result<Duration, Refusal> {
    let wait = match &query.wait_ms {
        None => edge.config.poll_wait,
        Some(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Refusal::new(ErrorCode::BadRequest, "wait_ms is not an integer"));
            }
            // Clamped, whatever its size: too large to be read is large.
            let millis = if digits == text { text.parse().unwrap_or(u64::MAX) } else { 0 };
            Duration::from_millis(millis.min(POLL_WAIT_MAX_MS))
        }
    };
    let jitter = wait / u32::try_from(WAIT_JITTER_PART).unwrap_or(1);
    Ok(wait - jitter.mul_f64(fastrand::f64()))
}

fn dismissed(dismissal: Dismissal, mut answer: Answer, reading: &Reading) -> Result<Response, Rejection> {
    match dismissal {
        Dismissal::Superseded => {
            Err(Refusal::new(ErrorCode::Superseded, "a newer attach took the session over").into())
        }
        Dismissal::RateLimited { reconnect_after } => {
            let refusal = Refusal::new(ErrorCode::RateLimited, "too many commands were refused");
            Err(refusal.retry_after(reconnect_after).into())
        }
        Dismissal::TokenExpired => Err(unverified(AuthError::Expired).into()),
        Dismissal::Deleted | Dismissal::Bye | Dismissal::Expired => Err(session_gone().into()),
        Dismissal::Draining { .. } | Dismissal::Kicked => {
            if let Some(goaway) = GoAway::for_dismissal(dismissal) {
                answer.add(&goaway_json(&goaway));
            }
            Ok(answer.finish(reading, false))
        }
    }
}

/// The `events` of an answer, as they are written.
#[derive(Default)]
struct Answer {
    json: Vec<u8>,
    events: usize,
}

impl Answer {
    fn is_full(&self) -> bool {
        self.events >= POLL_EVENTS_MAX || self.json.len() >= POLL_BYTES_MAX
    }

    fn room(&self) -> DrainBudget {
        DrainBudget {
            events: POLL_EVENTS_MAX.saturating_sub(self.events).max(1),
            bytes: POLL_BYTES_MAX.saturating_sub(self.json.len()),
        }
    }

    fn write(&mut self, item: &Outgoing) {
        let (cursor, event) = match item {
            Outgoing::Event { cursor, event } => (Some(cursor.text()), event),
            Outgoing::Ephemeral(event) => (None, event),
            Outgoing::TokenExpiring(at) => return self.add(&token_expiring_json(*at)),
        };
        self.begin();
        write_prefix(cursor.as_ref(), &mut self.json);
        self.json.extend_from_slice(&event.body);
    }

    fn add(&mut self, json: &[u8]) {
        self.begin();
        self.json.extend_from_slice(json);
    }

    fn begin(&mut self) {
        if self.events > 0 {
            self.json.push(b',');
        }
        self.events += 1;
    }

    fn finish(self, reading: &Reading, more: bool) -> Response {
        let cursor = reading.reached().unwrap_or(reading.cursor).text();
        let mut body = Vec::with_capacity(AROUND_EVENTS_BYTES + self.json.len());
        let parts: [&[u8]; 11] = [
            br#"{"session":""#,
            reading.session().id().as_str().as_bytes(),
            br#"","cursor":""#,
            cursor.as_bytes(),
            br#"","resume":""#,
            reading.resume.as_str().as_bytes(),
            br#"","events":["#,
            &self.json,
            br#"],"more":"#,
            if more { b"true" } else { b"false" },
            b"}",
        ];
        for part in parts {
            body.extend_from_slice(part);
        }
        json(body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_that_waits_is_small() {
        assert!(size_of::<Waiting>() <= 88, "{}", size_of::<Waiting>());
    }
}
