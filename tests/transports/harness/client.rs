//! One client, whatever carries it: what the tests are written against.

use std::collections::VecDeque;
use std::fmt;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::attach::Attach;
use super::check;
use super::ending::Ended;
use super::line::{Heard, Line};
use super::names::unique;
use super::poll_line::{PollAnswer, PollLine};
use super::runner::{WAIT_SECONDS, a_wait, within};
use super::sse_line::{SseLine, first_frame};
use super::transcript::Transcript;
use super::transport::Transport;
use super::user::{Answer, User};
use super::ws_line::WsLine;

/// A session as this client left it: what is needed to go on with it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) user: User,
    pub(crate) session: String,
    pub(crate) cursor: String,
}

impl Place {
    /// What an attach must say to go on from here.
    pub(crate) fn again(&self) -> Attach {
        let attach = Attach::new().session(&self.session);
        if self.cursor.is_empty() { attach } else { attach.cursor(&self.cursor) }
    }

    /// Goes on from here.
    pub(crate) async fn attach(&self, on: Transport) -> Client {
        self.user.attach_with(on, self.again()).await
    }
}

/// An attached client. Checks every object it hears; what it can't explain is a failure.
#[derive(Debug)]
pub(crate) struct Client {
    user: User,
    transport: Transport,
    session: String,
    welcome: Value,
    /// Of the last resumable event that was handed out, or of the welcome.
    cursor: String,
    line: Line,
    events: VecDeque<Value>,
    answers: VecDeque<Value>,
    last_error: Option<Value>,
    last_goaway: Option<Value>,
    heartbeats: usize,
    /// Each `token_expiring`.
    expiries: VecDeque<Value>,
    ended: Option<Ended>,
    transcript: Transcript,
}

impl Client {
    /// Attaches and waits for the welcome.
    ///
    /// # Errors
    /// How the line ended instead.
    pub(crate) async fn attach(user: &User, on: Transport, attach: Attach) -> Result<Self, Ended> {
        match on {
            Transport::Ws => {
                let line = WsLine::open(user, &attach).await?;
                Self::greeted(user, on, Line::Ws(Box::new(line))).await
            }
            Transport::Sse => {
                let mut line = SseLine::open(user, &attach).await?;
                let first = first_frame(&mut line).await;
                Self::with_first(user, on, Line::Sse(Box::new(line)), first).await
            }
            Transport::Poll => {
                let opening = within("the first poll's answer", PollLine::open(user, &attach)).await;
                let (mut line, answer) = opening?;
                let first = if attach.session.is_none() {
                    within("the welcome", line.hear()).await
                } else {
                    Heard::Frame(welcome_of(&answer))
                };
                let mut client = Self::with_first(user, on, Line::Poll(Box::new(line)), first).await?;
                if attach.session.is_some() && !answer.events.is_empty() {
                    // The answer's cursor is that of its last event, and none was handed out yet.
                    client.cursor = attach.cursor.unwrap_or_default();
                }
                assert_eq!(client.session, answer.session, "the welcome's session is the answer's");
                assert_eq!(client.welcome["resume"], answer.resume, "the welcome's resume is the answer's");
                Ok(client)
            }
        }
    }

    /// Waits for the welcome on a line that was opened.
    ///
    /// # Errors
    /// How the line ended instead.
    pub(crate) async fn greeted(user: &User, on: Transport, mut line: Line) -> Result<Self, Ended> {
        let first = within("the welcome", line.hear()).await;
        Self::with_first(user, on, line, first).await
    }

    async fn with_first(user: &User, on: Transport, line: Line, first: Heard) -> Result<Self, Ended> {
        let mut client = Self {
            user: user.clone(),
            transport: on,
            session: String::new(),
            welcome: Value::Null,
            cursor: String::new(),
            line,
            events: VecDeque::new(),
            answers: VecDeque::new(),
            last_error: None,
            last_goaway: None,
            heartbeats: 0,
            expiries: VecDeque::new(),
            ended: None,
            transcript: Transcript::default(),
        };
        match first {
            Heard::Frame(frame) if frame["type"] == "welcome" => {
                client.transcript.heard(&frame);
                client.session = check::text(&frame, "session").into();
                client.cursor = check::cursor(&frame).into();
                client.welcome = frame;
                Ok(client)
            }
            Heard::Frame(frame) => {
                client.sort(frame);
                Err(client.ended().await)
            }
            Heard::Ended(ended) => Err(ended),
        }
    }

    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    pub(crate) fn welcome(&self) -> &Value {
        &self.welcome
    }

    /// How the server says it went on: `new`, `resumed`, …
    #[track_caller]
    pub(crate) fn resume(&self) -> &str {
        check::text(&self.welcome, "resume")
    }

    pub(crate) fn user(&self) -> &User {
        &self.user
    }

    pub(crate) fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// Where the client stands.
    pub(crate) fn place(&self) -> Place {
        Place { user: self.user.clone(), session: self.session.clone(), cursor: self.cursor.clone() }
    }

    /// Ends the connection without a word.
    pub(crate) fn cut(self) -> Place {
        self.place()
    }

    /// Stays in reach: a poll is sent if none is on its way, and the server has surely read it. The others always are.
    pub(crate) async fn hold(&mut self) {
        if let Line::Poll(line) = &mut self.line {
            line.hold();
            // The poll's task must have written its request before the round trips begin.
            tokio::task::yield_now().await;
            self.user.settle().await;
        }
    }

    /// From now on acknowledges nothing by hearing it. Only a poll does; the others never do.
    pub(crate) fn pin(&mut self) {
        if let Line::Poll(line) = &mut self.line {
            line.pin(&self.cursor);
        }
    }

    // ----- hearing -----

    /// The next event.
    pub(crate) async fn event(&mut self) -> Value {
        self.event_where("an event", |_| true).await
    }

    /// The next event of a type; others are passed over, except a `gap`, which nobody expects.
    pub(crate) async fn event_of(&mut self, kind: &str) -> Value {
        self.event_where(&format!("a {kind} event"), |event| event["type"] == kind).await
    }

    /// The next event that fits; others are passed over, except a dialog's `gap`.
    pub(crate) async fn event_where(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.any_event(what).await;
            if fits(&event) {
                return event;
            }
            if event["type"] == "gap" && event["feed"] != "user" {
                self.fail(&format!("expected {what}, not a gap: {event}"));
            }
        }
    }

    /// The next event, or how the line ended: for a client that goes on whatever happens. Waits for as long as it takes.
    ///
    /// # Errors
    /// How the line ended.
    pub(crate) async fn event_or_end(&mut self) -> Result<Value, Ended> {
        loop {
            if let Some(event) = self.events.pop_front() {
                check::event(&event);
                if let Some(cursor) = event["cursor"].as_str() {
                    self.cursor = cursor.into();
                }
                return Ok(event);
            }
            self.hear_on().await?;
        }
    }

    /// The next reply to any command, or how the line ended. Waits for as long as it takes.
    ///
    /// # Errors
    /// How the line ended.
    pub(crate) async fn answer_or_end(&mut self) -> Result<Value, Ended> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(answer);
            }
            self.hear_on().await?;
        }
    }

    /// The next event or reply, or how the line ended. Waits for as long as it takes; safe to cancel.
    ///
    /// # Errors
    /// How the line ended.
    pub(crate) async fn event_or_answer_or_end(&mut self) -> Result<Value, Ended> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(answer);
            }
            if !self.events.is_empty() {
                return self.event_or_end().await;
            }
            self.hear_on().await?;
        }
    }

    async fn hear_on(&mut self) -> Result<(), Ended> {
        match self.line.hear().await {
            Heard::Frame(frame) => {
                self.sort(frame);
                Ok(())
            }
            Heard::Ended(mut ended) => {
                ended.error = ended.error.or_else(|| self.last_error.take());
                ended.goaway = self.last_goaway.take();
                Err(ended)
            }
        }
    }

    /// The next message.
    pub(crate) async fn message(&mut self) -> Value {
        self.event_of("message_new").await
    }

    /// The texts of the next messages.
    pub(crate) async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        while texts.len() < count {
            texts.push(text_of(&self.message().await).to_owned());
        }
        texts
    }

    /// All that comes up to the message with this text, which is the last.
    pub(crate) async fn events_until(&mut self, text: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.any_event(&format!("the message {text:?}")).await;
            let found = event["type"] == "message_new" && text_of(&event) == text;
            events.push(event);
            if found {
                return events;
            }
        }
    }

    /// Nothing of this type comes before the message with this text.
    pub(crate) async fn nothing_of(&mut self, kind: &str, until: &str) {
        let events = self.events_until(until).await;
        let before = &events[..events.len() - 1];
        if let Some(event) = before.iter().find(|event| event["type"] == kind) {
            self.fail(&format!("no {kind} may come before the message {until:?}, but this did: {event}"));
        }
    }

    /// The message with this text is the next message.
    pub(crate) async fn next_message_is(&mut self, text: &str) -> Value {
        let message = self.message().await;
        if text_of(&message) != text {
            self.fail(&format!("the next message should be {text:?}, not {message}"));
        }
        message
    }

    async fn any_event(&mut self, what: &str) -> Value {
        let deadline = tokio::time::Instant::now() + a_wait();
        loop {
            if let Some(event) = self.events.pop_front() {
                check::event(&event);
                if let Some(cursor) = event["cursor"].as_str() {
                    self.cursor = cursor.into();
                }
                return event;
            }
            self.hear(what, deadline).await;
        }
    }

    /// How the line ends; what comes before is passed over.
    pub(crate) async fn ended(&mut self) -> Ended {
        let deadline = tokio::time::Instant::now() + a_wait();
        while self.ended.is_none() {
            self.hear_or_end("the end of the line", deadline).await;
        }
        self.ended.clone().expect("the loop ends with it")
    }

    /// Waits for heartbeats.
    pub(crate) async fn heartbeats(&mut self, count: usize) {
        let deadline = tokio::time::Instant::now() + a_wait();
        while self.heartbeats < count {
            self.hear("heartbeats", deadline).await;
        }
    }

    /// The next `token_expiring`.
    pub(crate) async fn token_expiring(&mut self) -> Value {
        let deadline = tokio::time::Instant::now() + a_wait();
        loop {
            if let Some(expiring) = self.expiries.pop_front() {
                return expiring;
            }
            self.hear("token_expiring", deadline).await;
        }
    }

    /// How many `token_expiring` were heard beside those that were waited for.
    pub(crate) fn expiries_heard(&self) -> usize {
        self.expiries.len()
    }

    async fn hear(&mut self, what: &str, deadline: tokio::time::Instant) {
        self.hear_or_end(what, deadline).await;
        if let Some(ended) = &self.ended {
            let ended = format!("{ended:?}");
            self.fail(&format!("waited for {what}, but the line ended: {ended}"));
        }
    }

    async fn hear_or_end(&mut self, what: &str, deadline: tokio::time::Instant) {
        match tokio::time::timeout_at(deadline, self.line.hear()).await {
            Ok(Heard::Frame(frame)) => self.sort(frame),
            Ok(Heard::Ended(mut ended)) => {
                ended.error = ended.error.or_else(|| self.last_error.take());
                ended.goaway = self.last_goaway.take();
                self.transcript.note(&format!("ended: {ended:?}"));
                self.ended = Some(ended);
            }
            Err(_) => self.fail(&format!("waited {WAIT_SECONDS} s for {what}")),
        }
    }

    fn sort(&mut self, frame: Value) {
        self.transcript.heard(&frame);
        match frame["type"].as_str() {
            Some("ok" | "pong") => self.answers.push_back(frame),
            Some("error") => {
                if frame.get("ref").is_none() {
                    self.last_error = Some(frame.clone());
                }
                self.answers.push_back(frame);
            }
            Some("heartbeat") => self.heartbeats += 1,
            Some("goaway") => {
                check::event(&frame);
                self.last_goaway = Some(frame);
            }
            Some("token_expiring") => {
                check::event(&frame);
                self.expiries.push_back(frame);
            }
            Some("welcome") => self.fail("a session is welcomed once a line"),
            Some(_) => self.events.push_back(frame),
            None => self.fail(&format!("every object has a type: {frame}")),
        }
    }

    // ----- commanding -----

    /// A command and its reply, whatever it is. The `ref` is put in here.
    pub(crate) async fn command(&mut self, command: Value) -> Value {
        self.commands(vec![command]).await.remove(0)
    }

    /// Several commands at once, and their replies in the order of the commands: over the socket one frame each without
    /// waiting, otherwise batches.
    pub(crate) async fn commands(&mut self, mut commands: Vec<Value>) -> Vec<Value> {
        for command in &mut commands {
            command["ref"] = unique("r").into();
        }
        if !matches!(self.line, Line::Ws(_)) {
            return self.post_batches(&commands).await;
        }
        for command in &commands {
            self.fire(command).await;
        }
        let mut replies = Vec::with_capacity(commands.len());
        for command in &commands {
            replies.push(self.answer_to(command).await);
        }
        replies
    }

    /// A command that must succeed.
    pub(crate) async fn ok(&mut self, command: Value) -> Value {
        let said = command.to_string();
        let expected = if command["type"] == "ping" { "pong" } else { "ok" };
        let reply = self.command(command).await;
        if reply["type"] != expected {
            self.fail(&format!("{said} should succeed, not answer {reply}"));
        }
        reply
    }

    /// A command that must be refused with this code.
    pub(crate) async fn refused(&mut self, command: Value, code: &str) -> Value {
        let said = command.to_string();
        let reply = self.command(command).await;
        if reply["code"] != code {
            self.fail(&format!("{said} should be refused with {code}, not answer {reply}"));
        }
        check::error(&reply, code);
        reply
    }

    /// Subscribes to dialogs.
    pub(crate) async fn subscribe(&mut self, dialogs: &[&str]) -> Value {
        let reply = self.ok(json!({ "type": "subscribe", "dialogs": dialogs })).await;
        if check::list(&reply, "dialogs").len() != dialogs.len() {
            self.fail(&format!("all of {dialogs:?} should be subscribed: {reply}"));
        }
        reply
    }

    /// Sends a text with a client message id of its own.
    pub(crate) async fn say(&mut self, dialog: &str, text: &str) -> Value {
        self.ok(send(dialog, &unique("c"), text)).await
    }

    /// Sends texts one after the other, as fast as they are taken.
    pub(crate) async fn say_all(&mut self, dialog: &str, texts: &[String]) {
        let sends = texts.iter().map(|text| send(dialog, &unique("c"), text)).collect();
        for reply in self.commands(sends).await {
            if reply["type"] != "ok" {
                self.fail(&format!("every send should succeed, not answer {reply}"));
            }
        }
    }

    /// Something that is perhaps no command at all, and the error that answers it.
    pub(crate) async fn raw(&mut self, text: &str) -> Value {
        if let Line::Ws(line) = &mut self.line {
            self.transcript.sent(&text);
            line.send(Message::text(text)).await;
            return self.next_answer("an error").await;
        }
        let Answer { status, body } = self.user.post_text(&self.session, text.into()).await;
        if status == 200 { check::list(&body, "replies")[0].clone() } else { body }
    }

    /// Sends a command over the socket as it is, and waits for nothing.
    ///
    /// WebSocket alone.
    pub(crate) async fn fire(&mut self, command: &Value) {
        self.transcript.sent(command);
        match &mut self.line {
            Line::Ws(line) => line.send_json(command).await,
            Line::Sse(_) | Line::Poll(_) => self.fail("only a WebSocket takes commands on its own line"),
        }
    }

    /// Sends a command over the socket, unless that has just been closed: then the end is what is heard next.
    ///
    /// WebSocket alone.
    pub(crate) async fn fire_if_open(&mut self, command: &Value) {
        self.transcript.sent(command);
        match &mut self.line {
            // Whether it arrived is of no interest.
            Line::Ws(line) => drop(line.try_send(Message::text(command.to_string())).await),
            Line::Sse(_) | Line::Poll(_) => self.fail("only a WebSocket takes commands on its own line"),
        }
    }

    /// The next reply of any kind over the socket.
    pub(crate) async fn next_answer(&mut self, what: &str) -> Value {
        let deadline = tokio::time::Instant::now() + a_wait();
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return answer;
            }
            self.hear_or_end(what, deadline).await;
            if self.ended.is_some() && self.answers.is_empty() {
                self.fail(&format!("waited for {what}, but the line ended"));
            }
        }
    }

    async fn answer_to(&mut self, command: &Value) -> Value {
        let what = format!("the answer to {command}");
        let deadline = tokio::time::Instant::now() + a_wait();
        loop {
            if let Some(at) = self.answers.iter().position(|answer| answer["ref"] == command["ref"]) {
                return self.answers.remove(at).expect("it was found there");
            }
            self.hear(&what, deadline).await;
        }
    }

    async fn post_batches(&mut self, commands: &[Value]) -> Vec<Value> {
        const BATCH: usize = 64;
        let mut replies = Vec::with_capacity(commands.len());
        for batch in commands.chunks(BATCH) {
            let body = if let [command] = batch { command.clone() } else { batch.into() };
            self.transcript.sent(&body);
            let answer = self.user.post(&self.session, &body).await;
            self.transcript.heard(&answer.body);
            if answer.status != 200 {
                self.fail(&format!("commands are answered by 200, not {answer:?}"));
            }
            let batch_replies = check::list(&answer.body, "replies");
            let in_order =
                batch.iter().map(|command| &command["ref"]).eq(batch_replies.iter().map(|r| &r["ref"]));
            if !in_order {
                self.fail("every command is answered, in the same order");
            }
            replies.extend_from_slice(batch_replies);
        }
        replies
    }

    /// Ends the test, and tells what this client said and heard.
    #[track_caller]
    pub(crate) fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{self}");
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, on, session) = (self.user.id(), self.transport, &self.session);
        write!(f, "{user} by {on}, session {session}:\n{}", self.transcript)
    }
}

/// A `send_message`.
pub(crate) fn send(dialog: &str, client_message_id: &str, text: &str) -> Value {
    json!({
        "type": "send_message",
        "dialog_id": dialog,
        "client_message_id": client_message_id,
        "body": { "text": text },
    })
}

/// The text of a `message_new`.
#[track_caller]
pub(crate) fn text_of(event: &Value) -> &str {
    check::text(&event["message"]["body"], "text")
}

/// `base 1` to `base n`.
pub(crate) fn numbered(base: &str, count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{base} {n}")).collect()
}

/// A poll that goes on with a session has no welcome: its answer says as much of one as a client needs.
fn welcome_of(answer: &PollAnswer) -> Value {
    json!({
        "type": "welcome",
        "session": answer.session,
        "cursor": answer.cursor,
        "resume": answer.resume,
    })
}
