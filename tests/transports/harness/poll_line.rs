//! Long-poll, by reqwest: what a client library would do, one request after another.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::task::JoinSet;

use super::attach::Attach;
use super::check;
use super::ending::Ended;
use super::json::strict;
use super::line::Heard;
use super::transport::Transport;
use super::user::User;

/// What a poll asks for when it is ready to wait: less than the deadline of a wait.
const WAIT_MS: u64 = 8_000;
/// Between two polls that ask for what is already known.
const AGAIN: Duration = Duration::from_millis(10);

/// The body of a poll's 200.
#[derive(Debug, Clone)]
pub(crate) struct PollAnswer {
    pub(crate) session: String,
    pub(crate) cursor: String,
    pub(crate) resume: String,
    pub(crate) events: Vec<Value>,
    pub(crate) more: bool,
    /// The body as it came.
    pub(crate) bytes: usize,
}

/// A client that polls.
#[derive(Debug)]
pub(crate) struct PollLine {
    user: User,
    /// What the next poll asks for.
    next: Attach,
    events: VecDeque<Value>,
    /// A later answer has told that the session was rebuilt, and nobody has asked for that yet.
    rebuilt: bool,
    /// The poll that is on its way: it goes on when nobody waits for it.
    pending: JoinSet<Result<PollAnswer, Ended>>,
    /// While pinned: what was handed out since, and is not acknowledged.
    pinned: Option<HashSet<String>>,
}

impl PollLine {
    /// The first poll: of a new session, or of one that is gone on with.
    ///
    /// # Errors
    /// The HTTP answer, if it wasn't 200.
    pub(crate) async fn open(user: &User, attach: &Attach) -> Result<(Self, PollAnswer), Ended> {
        // A new session answers at once by itself.
        let wait_ms = attach.session.as_ref().map(|_| 0);
        let answer = poll(user, attach, wait_ms).await?;
        let next = Attach {
            session: Some(answer.session.clone()),
            cursor: Some(answer.cursor.clone()),
            number: attach.number.map(|number| number + 1),
            ..Attach::default()
        };
        let events = answer.events.iter().cloned().collect();
        let line =
            Self { user: user.clone(), next, events, rebuilt: false, pending: JoinSet::new(), pinned: None };
        Ok((line, answer))
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            if let Some(event) = self.events.pop_front() {
                if let Some(handed) = &mut self.pinned
                    && !handed.insert(identity(&event))
                {
                    continue;
                }
                return Heard::Frame(event);
            }
            self.hold();
            let Some(ended) = self.pending.join_next().await else { continue };
            match ended.unwrap_or_else(|e| panic!("the poll failed: {e}")) {
                Ok(answer) => {
                    assert_eq!(Some(&answer.session), self.next.session.as_ref(), "a poll keeps its session");
                    self.rebuilt |= answer.resume == "rebuilt";
                    self.events.extend(answer.events);
                    if self.pinned.is_none() {
                        self.next.cursor = Some(answer.cursor);
                    } else {
                        tokio::time::sleep(AGAIN).await;
                    }
                }
                Err(ended) => return Heard::Ended(ended),
            }
        }
    }

    /// Sends the next poll now, if none is on its way.
    pub(crate) fn hold(&mut self) {
        if self.pending.is_empty() {
            let (user, attach) = (self.user.clone(), self.next.clone());
            self.next.number = self.next.number.map(|number| number + 1);
            self.pending.spawn(async move { poll(&user, &attach, Some(WAIT_MS)).await });
        }
    }

    /// Whether an answer since the last time told that the session was rebuilt: between two polls its node may have died.
    /// It comes before the events of that answer.
    pub(crate) fn take_rebuilt(&mut self) -> bool {
        std::mem::take(&mut self.rebuilt)
    }

    /// From now on polls with this cursor again and again: hears all and acknowledges nothing more.
    pub(crate) fn pin(&mut self, cursor: &str) {
        assert!(self.pending.is_empty(), "pinned between two polls");
        self.next.cursor = Some(cursor.into());
        self.pinned = Some(HashSet::new());
    }
}

/// What tells one event from another, without its cursor.
fn identity(event: &Value) -> String {
    if event["cursor"].is_null() {
        return event.to_string();
    }
    format!("{} {} {} {}", event["type"], event["dialog_id"], event["feed"], event["offset"])
}

/// One poll; `wait_ms` is left out when it is `None`.
///
/// # Errors
/// The HTTP answer, if it wasn't 200; or what broke.
pub(crate) async fn poll(user: &User, attach: &Attach, wait_ms: Option<u64>) -> Result<PollAnswer, Ended> {
    let wait: Vec<(&str, String)> = wait_ms.map(|ms| ("wait_ms", ms.to_string())).into_iter().collect();
    let path = attach.path_and_query(Transport::Poll.path(), &wait);
    let response = match user.try_ask(reqwest::Method::GET, &path, attach).await {
        Ok(response) => response,
        Err(e) => return Err(Ended { note: format!("the poll broke: {e:?}"), ..Ended::default() }),
    };
    if response.status() != 200 {
        return Err(user.refusal(response).await);
    }
    if response.version() == reqwest::Version::HTTP_11 {
        check_framing(response.headers());
    }
    check_head(response.headers());
    match response.text().await {
        Ok(body) => Ok(read_answer(&body)),
        Err(e) => Err(Ended { note: format!("the poll's answer broke: {e:?}"), ..Ended::default() }),
    }
}

/// Reads and checks a poll's body.
pub(crate) fn read_answer(body: &str) -> PollAnswer {
    let answer = strict(body).unwrap_or_else(|e| panic!("a poll answers strict JSON: {e}"));
    PollAnswer {
        session: check::text(&answer, "session").into(),
        cursor: check::cursor(&answer).into(),
        resume: check::text(&answer, "resume").into(),
        events: check::list(&answer, "events").to_vec(),
        more: check::flag(&answer, "more"),
        bytes: body.len(),
    }
}

fn check_head(headers: &HeaderMap) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert!(header("content-type").starts_with("application/json"), "Content-Type: {headers:?}");
    assert!(header("cache-control").contains("no-store"), "Cache-Control: {headers:?}");
}

fn check_framing(headers: &HeaderMap) {
    assert!(headers.contains_key("content-length"), "a poll's answer tells its length: {headers:?}");
    assert!(!headers.contains_key("transfer-encoding"), "a poll's answer is never chunked: {headers:?}");
}
