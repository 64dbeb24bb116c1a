//! Long-poll: each request is an attach, and only the next one's cursor acknowledges what this one carries.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::http::asked::Asked;
use super::http::attach_query::AttachQuery;
use super::http::client::admit_attach;
use super::http::credentials::identify;
use super::http::edge::Edge;
use super::http::reject::{Rejection, json};
use super::http::relay::{self, Answerer};
use super::wire::control::{GoAway, goaway_json, token_expiring_json};
use super::wire::events::write_prefix;
use crate::application::ports::auth::AuthError;
use crate::application::usecase::attach::{Reading, session_gone, unverified};
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
/// The wait is shortened by up to one part in so many: polls that began together drift apart.
const WAIT_JITTER_PART: u64 = 5;

/// Answers with what the client does not have yet, as soon as there is any.
///
/// # Errors
/// A [`Rejection`]: credentials, `session_gone`, `cursor_invalid`, `stale_attach`, `superseded`.
pub async fn poll(
    State(edge): State<Arc<Edge>>,
    query: AttachQuery,
    asked: Asked,
) -> Result<Response, Rejection> {
    let Some(session) = &query.session else {
        admit_attach(&edge, asked.client, None, asked.is_relayed())
            .inspect_err(|refusal| edge.note_refused(Transport::Poll, refusal))?;
        return answer(edge, query, asked).await;
    };
    // Going on is no connect; being turned away is one.
    let (session, client, relayed) = (session.clone(), asked.client, asked.is_relayed());
    let answered = answer(edge.clone(), query, asked).await;
    if answered.as_ref().is_err_and(Rejection::is_the_clients) {
        admit_attach(&edge, client, Some(&session), relayed)?;
    }
    answered
}

async fn answer(edge: Arc<Edge>, query: AttachQuery, asked: Asked) -> Result<Response, Rejection> {
    let caller = identify(&edge, &asked.headers, &query).await;
    let caller = caller.inspect_err(|refusal| edge.note_refused(Transport::Poll, refusal))?;
    let wait = wait_of(&edge, &query)?;
    let mut input = query.attach_input(Transport::Poll)?;
    match relay::find(&edge, &asked, &caller, query.session.as_deref(), Bytes::new()).await? {
        Answerer::Other(answer) => return Ok(answer),
        Answerer::This { held_by, .. } => input.held_by = held_by,
    }
    // A poll waits long: it carries along what it needs, and not what it took to get here.
    let identity = caller.into_identity();
    let reading = asked.scope(Box::pin(edge.gateway.attach(&identity, input))).await?;
    drop(asked);
    let mut answer = Answer::default();
    if query.session.is_none() {
        answer.add(&edge.welcome(&reading, &identity));
        return Ok(answer.finish(&reading, false));
    }
    let deadline = Instant::now() + wait;
    let more = match answer.fill(&reading, deadline).await {
        Ok(false) if answer.events > 0 => {
            // What comes a moment later goes along.
            answer.fill_until(&reading, Instant::now() + LINGER).await
        }
        other => other,
    };
    match more {
        Ok(more) => Ok(answer.finish(&reading, more)),
        Err(dismissal) => dismissed(dismissal, answer, &reading),
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
    /// Waits for the first events. `Ok(true)`: there is more than fits.
    async fn fill(&mut self, reading: &Reading, deadline: Instant) -> Result<bool, Dismissal> {
        while self.events == 0 {
            match self.fill_once(reading, deadline).await {
                Some(Drained::Dismissed(dismissal)) => return Err(dismissal),
                Some(Drained::More) => return Ok(true),
                Some(Drained::Empty) => {}
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Takes what comes until the deadline.
    async fn fill_until(&mut self, reading: &Reading, deadline: Instant) -> Result<bool, Dismissal> {
        loop {
            if self.events >= POLL_EVENTS_MAX || self.json.len() >= POLL_BYTES_MAX {
                return Ok(true);
            }
            match self.fill_once(reading, deadline).await {
                // What is written so far is told by the cursor; the reason comes with the next poll.
                Some(Drained::Dismissed(Dismissal::Superseded)) => return Err(Dismissal::Superseded),
                Some(Drained::Dismissed(_)) | None => return Ok(false),
                Some(Drained::More) => return Ok(true),
                Some(Drained::Empty) => {}
            }
        }
    }

    async fn fill_once(&mut self, reading: &Reading, deadline: Instant) -> Option<Drained> {
        let budget = DrainBudget {
            events: POLL_EVENTS_MAX.saturating_sub(self.events).max(1),
            bytes: POLL_BYTES_MAX.saturating_sub(self.json.len()),
        };
        let mut out = Vec::new();
        // What is there already is taken even when there is no time to wait.
        let drained = timeout_at(deadline, reading.drain(budget, &mut out)).await.ok();
        for item in out {
            match item {
                Outgoing::Event { cursor, event } => {
                    self.begin();
                    write_prefix(Some(&cursor), &mut self.json);
                    self.json.extend_from_slice(&event.body);
                }
                Outgoing::Ephemeral(event) => {
                    self.begin();
                    write_prefix(None, &mut self.json);
                    self.json.extend_from_slice(&event.body);
                }
                Outgoing::TokenExpiring(at) => self.add(&token_expiring_json(at)),
            }
        }
        drained
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
        let cursor = reading.reached().unwrap_or(reading.cursor);
        let mut body = format!(
            "{{\"session\":\"{}\",\"cursor\":\"{cursor}\",\"resume\":\"{}\",\"events\":[",
            reading.session().id(),
            reading.resume.as_str()
        )
        .into_bytes();
        body.extend_from_slice(&self.json);
        body.extend_from_slice(if more { b"],\"more\":true}" } else { b"],\"more\":false}" });
        json(body).into_response()
    }
}
