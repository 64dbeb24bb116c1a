//! A client that reads and sends all the time, and goes on at the other node when its own sends it away.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::attach::Attach;
use super::check;
use super::client::send;
use super::ending::Ended;
use super::line::{Heard, Line};
use super::names::{percent, unique};
use super::poll_line::PollLine;
use super::seen::Seen;
use super::sse_line::SseLine;
use super::transport::Transport;
use super::user::User;
use super::ws_line::WsLine;

/// How often each sends.
const SEND_EVERY: Duration = Duration::from_secs(2);
/// Before something is tried again that a slow Store kept from being done.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Longest that the last messages may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all of them share.
pub(crate) struct Company {
    /// While this is true, they send.
    pub(crate) traffic: watch::Receiver<bool>,
    /// Where they meet once everything that was sent is settled.
    pub(crate) settled: Barrier,
}

/// What one of them has to tell in the end.
#[derive(Debug)]
pub(crate) struct Told {
    dialog: String,
    on: Transport,
    accepted: Vec<(u64, String)>,
    /// How many of them the first node has accepted.
    pub(crate) accepted_before_moving: usize,
    /// Sends that were refused, or not answered.
    pub(crate) not_done: usize,
    seen: Seen,
    /// When it was told to go.
    pub(crate) sent_away: Instant,
    /// After which time to come back, where it was told.
    pub(crate) reconnect_after_ms: Option<u64>,
}

impl Told {
    pub(crate) fn dialog(&self) -> &str {
        &self.dialog
    }

    /// Number, text and dialog of what it has sent.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = (u64, &str, &str)> {
        self.accepted.iter().map(|(seq, text)| (*seq, text.as_str(), self.dialog.as_str()))
    }

    /// The texts it has read, each once, in their order.
    pub(crate) fn seen(&self) -> &[String] {
        &self.seen.texts
    }
}

/// One of them.
pub(crate) struct Roamer {
    /// At the node where it is.
    here: User,
    elsewhere: Option<User>,
    on: Transport,
    session: String,
    cursor: String,
    line: Line,
    /// The text that waits for its answer on the line, and what was said.
    waits: Option<(String, Value)>,
    /// What must be said again, since nobody knows what came of it.
    again: Option<(String, Value)>,
    posts: JoinSet<Outcome>,
    name: usize,
    sent: usize,
    told: Told,
}

impl Roamer {
    /// A new session at the first node.
    pub(crate) async fn attach(
        user: &User,
        elsewhere: User,
        on: Transport,
        dialog: &str,
        name: usize,
    ) -> Self {
        let (line, welcome) = open(user, on, Attach::new().dialogs(&[dialog])).await;
        assert_eq!(welcome["resume"], "new", "{welcome}");
        Self {
            here: user.clone(),
            elsewhere: Some(elsewhere),
            on,
            session: check::text(&welcome, "session").into(),
            cursor: check::cursor(&welcome).into(),
            line,
            waits: None,
            again: None,
            posts: JoinSet::new(),
            name,
            sent: 0,
            told: Told {
                dialog: dialog.into(),
                on,
                accepted: Vec::new(),
                accepted_before_moving: 0,
                not_done: 0,
                seen: Seen::default(),
                sent_away: Instant::now(),
                reconnect_after_ms: None,
            },
        }
    }

    /// Sends and reads while there is traffic, then reads until the last message has come. The `last` of a dialog says it.
    pub(crate) async fn run(mut self, company: Arc<Company>, last: bool) -> Told {
        const THE_END: &str = "the end";
        let mut traffic = company.traffic.clone();
        let first = Instant::now() + SEND_EVERY.mul_f64(self.name as f64 % 10.0 / 10.0);
        let mut ticks = interval_at(first, SEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while *traffic.borrow_and_update() {
            tokio::select! {
                heard = self.line.hear() => self.take(heard).await,
                _ = ticks.tick(), if self.is_settled() => {
                    self.sent += 1;
                    self.send(format!("{}: {}", self.name, self.sent)).await;
                }
                Some(answered) = self.posts.join_next() => self.settle(answered.unwrap()),
                changed = traffic.changed() => changed.unwrap(),
            }
        }
        let ending = async {
            while !self.is_settled() {
                self.read_on().await;
            }
            company.settled.wait().await;
            if last {
                self.send(THE_END.to_owned()).await;
            }
            while self.told.seen.texts.last().is_none_or(|text| text != THE_END) || !self.is_settled() {
                self.read_on().await;
            }
        };
        let ended = timeout(PATIENCE, ending).await.is_ok();
        assert!(ended, "client {} by {} has not come to the end: {:?}", self.name, self.on, self.told);
        self.told
    }

    /// Whether it is known what came of everything it has sent.
    fn is_settled(&self) -> bool {
        self.waits.is_none() && self.posts.is_empty() && self.again.is_none()
    }

    async fn read_on(&mut self) {
        if let Some((text, command)) = self.again.take() {
            sleep(AGAIN_AFTER).await;
            return self.say(text, command).await;
        }
        tokio::select! {
            heard = self.line.hear() => self.take(heard).await,
            Some(answered) = self.posts.join_next() => self.settle(answered.unwrap()),
        }
    }

    async fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Frame(frame) => self.take_frame(&frame),
            Heard::Ended(ended) => self.move_on(&ended).await,
        }
    }

    fn take_frame(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap_or_default() {
            "message_new" => {
                self.told.seen.take(frame);
                self.cursor = check::cursor(frame).into();
            }
            "goaway" => {
                assert_eq!(frame["reason"], "draining", "{frame}");
                self.told.sent_away = Instant::now();
                self.told.reconnect_after_ms = Some(check::number(frame, "reconnect_after_ms"));
            }
            "ok" | "error" if self.on == Transport::Ws => {
                let (text, command) =
                    self.waits.take().unwrap_or_else(|| panic!("an answer to nothing: {frame}"));
                self.settle(outcome(frame, text, command));
            }
            "heartbeat" => {}
            other => panic!("client {} by {} did not expect a {other}: {frame}", self.name, self.on),
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted(seq, text) => {
                self.told.accepted.push((seq, text));
                self.told.accepted_before_moving += usize::from(self.elsewhere.is_some());
            }
            Outcome::NotDone => self.told.not_done += 1,
            Outcome::Unknown(text, command) => self.again = Some((text, command)),
        }
    }

    /// Goes on at the other node, where the session goes on.
    async fn move_on(&mut self, ended: &Ended) {
        let Some(elsewhere) = self.elsewhere.take() else {
            panic!("client {} by {} was sent away twice: {ended:?}", self.name, self.on);
        };
        match self.on {
            Transport::Ws => assert_eq!(ended.close, Some(4200), "{ended:?}"),
            Transport::Sse => assert!(ended.note.contains("the stream ended"), "{ended:?}"),
            // A poll that came after its turn is told by its status.
            Transport::Poll if self.told.reconnect_after_ms.is_none() => {
                assert_eq!((ended.code(), ended.status), ("draining", Some(503)), "{ended:?}");
                self.told.sent_away = Instant::now();
            }
            Transport::Poll => {}
        }
        // It would have been answered before the end: it was not done, and is not said again.
        self.told.not_done += usize::from(self.waits.take().is_some());
        sleep(Duration::from_millis(self.told.reconnect_after_ms.unwrap_or(0))).await;
        let again = Attach::new().session(&self.session).cursor(&self.cursor);
        let (line, welcome) = open(&elsewhere, self.on, again).await;
        assert_eq!(welcome["session"], *self.session, "{welcome}");
        assert!(matches!(welcome["resume"].as_str(), Some("rebuilt" | "resumed")), "{welcome}");
        (self.line, self.here) = (line, elsewhere);
    }

    async fn send(&mut self, text: String) {
        let mut command = send(&self.told.dialog, &unique("c"), &text);
        command["ref"] = "r".into();
        self.say(text, command).await;
    }

    async fn say(&mut self, text: String, command: Value) {
        match &mut self.line {
            Line::Ws(line) => {
                // If the node has just closed it, the end is what is heard next.
                let _ = line.try_send(Message::text(command.to_string())).await;
                self.waits = Some((text, command));
            }
            Line::Sse(_) | Line::Poll(_) => {
                self.posts.spawn(post(self.here.clone(), self.session.clone(), command, text));
            }
        }
    }
}

/// What came of a send.
enum Outcome {
    Accepted(u64, String),
    /// Refused, or not even taken: if it is ever read, that was a lie.
    NotDone,
    /// The Store was too slow: it may have been done.
    Unknown(String, Value),
}

fn outcome(reply: &Value, text: String, command: Value) -> Outcome {
    match (reply["type"].as_str(), reply["code"].as_str()) {
        (Some("ok"), _) => Outcome::Accepted(check::number(reply, "seq"), text),
        // The session is between two nodes.
        (_, Some("draining" | "session_gone")) => Outcome::NotDone,
        _ if reply["unknown_outcome"] == true => Outcome::Unknown(text, command),
        _ => panic!("a send is accepted, or the node is going: {reply}"),
    }
}

async fn post(user: User, session: String, command: Value, text: String) -> Outcome {
    let url = user.stage().url(&format!("/v1/commands?session={}", percent(&session)));
    let request = user.stage().http().post(url).bearer_auth(user.token());
    let request = request.header("content-type", "application/json").body(command.to_string());
    // Not connected, or cut off: the node has not taken it, or not kept its word.
    let Ok(response) = request.send().await else { return Outcome::NotDone };
    let status = response.status();
    let Ok(body) = response.text().await else { return Outcome::NotDone };
    let answer: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{status} {body}: {e}"));
    outcome(if status == 200 { &answer["replies"][0] } else { &answer }, text, command)
}

/// A line that is attached, and its welcome (or what a poll tells of one). A refusal that will pass is tried again, as
/// clients do.
async fn open(user: &User, on: Transport, attach: Attach) -> (Line, Value) {
    let opening = async {
        loop {
            match try_open(user, on, &attach).await {
                Ok(opened) => return opened,
                Err(error) if error["retryable"] == true && error["code"] != "draining" => {
                    sleep(AGAIN_AFTER).await;
                }
                Err(error) => panic!("{on} with {attach:?}: {error}"),
            }
        }
    };
    timeout(PATIENCE, opening).await.unwrap_or_else(|_| panic!("{on} with {attach:?}: again and again"))
}

async fn try_open(user: &User, on: Transport, attach: &Attach) -> Result<(Line, Value), Value> {
    let told = |ended: Ended| ended.error.unwrap_or_else(|| ended.note.into());
    let mut line = match on {
        Transport::Ws => Line::Ws(Box::new(WsLine::open(user, attach).await.map_err(told)?)),
        Transport::Sse => Line::Sse(Box::new(SseLine::open(user, attach).await.map_err(told)?)),
        Transport::Poll => {
            let (line, answer) = PollLine::open(user, attach).await.map_err(told)?;
            if attach.session.is_some() {
                let welcome =
                    json!({ "session": answer.session, "cursor": answer.cursor, "resume": answer.resume });
                return Ok((Line::Poll(Box::new(line)), welcome));
            }
            Line::Poll(Box::new(line))
        }
    };
    match line.hear().await {
        Heard::Frame(frame) if frame["type"] == "welcome" => Ok((line, frame)),
        // An event stream sheds by a `goaway`.
        Heard::Frame(frame) if frame["type"] == "goaway" && frame["reason"] == "overloaded" => {
            Err(json!({ "retryable": true }))
        }
        Heard::Frame(frame) => Err(frame),
        Heard::Ended(ended) => Err(told(ended)),
    }
}
