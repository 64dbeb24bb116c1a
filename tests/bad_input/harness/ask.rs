//! Requests over either version of HTTP, and the ways to attach.

use std::sync::Arc;

use serde_json::Value;

use super::answer::{Answer, is_error};
use super::frames::{TEXT, frame};
use super::http2::Http2;
use super::line::Line;
use super::server::{NAME, Server};

/// The key of RFC 6455 §1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Http1,
    Http2,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn json(self) -> Self {
        self.with("content-type", "application/json")
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn header_refs(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// As HTTP/1.1 writes it.
    pub(crate) fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {NAME}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head + "\r\n"
    }
}

/// A server, and the version of HTTP it is spoken to.
#[derive(Clone)]
pub(crate) struct Over {
    pub(crate) server: Arc<Server>,
    pub(crate) via: Via,
}

impl Over {
    /// For a row's name.
    pub(crate) fn name(&self) -> String {
        format!("{:?} over {}", self.via, self.server.scheme())
    }

    /// A connection on which nothing was said yet.
    pub(crate) async fn line(&self) -> Line {
        self.server.connect(if self.via == Via::Http1 { "http/1.1" } else { "h2" }).await
    }

    pub(crate) async fn http2(&self) -> Http2 {
        Http2::over(self.line().await).await
    }

    fn uri(&self, path: &str) -> String {
        format!("{}://{NAME}{path}", self.server.scheme())
    }

    /// A connection for requests one after the other.
    pub(crate) async fn open(&self) -> Connection {
        let scheme = self.server.scheme();
        match self.via {
            Via::Http1 => Connection::Http1(self.line().await),
            Via::Http2 => Connection::Http2(scheme, self.http2().await),
        }
    }

    /// Asks on a connection of its own.
    pub(crate) async fn ask(&self, asked: &Asked) -> Answer {
        self.open().await.ask(asked).await
    }

    /// Opens a WebSocket; these headers beside the necessary ones.
    pub(crate) async fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Result<Line, Answer> {
        match self.via {
            Via::Http1 => {
                let mut asked = Asked::new("GET", path)
                    .with("connection", "Upgrade")
                    .with("upgrade", "websocket")
                    .with("sec-websocket-version", "13")
                    .with("sec-websocket-key", KEY);
                for (name, value) in headers {
                    asked = asked.with(name, *value);
                }
                let mut line = self.line().await;
                line.write(asked.head()).await;
                let answer = line.answer().await;
                if answer.status == 101 { Ok(line) } else { Err(answer) }
            }
            Via::Http2 => {
                let headers = [&[("sec-websocket-version", "13")], headers].concat();
                self.http2().await.connect("websocket", &self.uri(path), &headers).await
            }
        }
    }

    /// A WebSocket that is attached with these credentials; the welcome is read.
    pub(crate) async fn attached(&self, query: &str, bearer: &str) -> (Line, Value) {
        let opened = self.upgrade(&format!("/v1/ws{query}"), &[("authorization", bearer)]).await;
        let mut line = opened.unwrap_or_else(|answer| panic!("no upgrade: {answer:?}"));
        let welcome = line.hear().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (line, welcome)
    }

    /// Attaches and is told no, with this status and code, or this code and close code.
    pub(crate) async fn attach_is_refused(
        &self,
        on: Transport,
        query: &str,
        headers: &[(&str, &str)],
        expected: (u16, &str, u16),
    ) {
        let (status, code, close) = expected;
        match on {
            Transport::Ws => match self.upgrade(&format!("/v1/ws{query}"), headers).await {
                Ok(mut line) => line.is_refused_and_closed(code, close).await,
                Err(answer) => panic!("it should be told after the upgrade: {answer:?}"),
            },
            Transport::Sse | Transport::Poll => {
                let mut asked = Asked::new("GET", format!("{}{query}", on.path()));
                for (name, value) in headers {
                    asked = asked.with(name, *value);
                }
                self.ask(&asked).await.is_refused(status, code);
            }
        }
    }

    /// A session that reads by this transport, as far as it matters for commands.
    pub(crate) async fn session(&self, on: Transport, bearer: &str) -> Attached {
        match on {
            Transport::Ws => {
                let (line, welcome) = self.attached("", bearer).await;
                Attached { session: text(&welcome["session"]), line: Some(line), posts: self.open().await }
            }
            Transport::Sse => {
                let http1 = Self { server: self.server.clone(), via: Via::Http1 };
                let mut line = http1.line().await;
                line.write(Asked::new("GET", "/v1/sse").with("authorization", bearer).head()).await;
                let opening = line.read_until("\"session\":\"").await;
                assert!(opening.starts_with("HTTP/1.1 200"), "{opening}");
                let session = line.read_until("\"").await.trim_end_matches('"').to_owned();
                Attached { session, line: Some(line), posts: self.open().await }
            }
            Transport::Poll => {
                let mut posts = self.open().await;
                let answer = posts.ask(&Asked::new("GET", "/v1/poll").with("authorization", bearer)).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                Attached { session: text(&answer.json()["session"]), line: None, posts }
            }
        }
    }

    /// Says commands as the transport says them, and gives the answers; a batch that is refused as a whole is one.
    pub(crate) async fn command(&self, on: Transport, to: &mut Attached, bearer: &str, said: &[u8]) -> Value {
        match (on, &mut to.line) {
            (Transport::Ws, Some(line)) => {
                line.write(frame(TEXT, said)).await;
                line.hear_answer().await
            }
            _ => {
                let answer = to.posts.ask(&post(&to.session, bearer, said)).await;
                let body = answer.json();
                if answer.status == 200 { body["replies"][0].clone() } else { body }
            }
        }
    }

    /// The same of at most 64 sound ones together: a batch, or one frame after the other.
    pub(crate) async fn commands(
        &self,
        on: Transport,
        to: &mut Attached,
        bearer: &str,
        said: &[Value],
    ) -> Vec<Value> {
        match (on, &mut to.line) {
            (Transport::Ws, Some(line)) => {
                let frames = said.iter().map(|said| frame(TEXT, said.to_string()));
                line.write(frames.collect::<Vec<_>>().concat()).await;
                let mut answers = Vec::new();
                for _ in said {
                    answers.push(line.hear_answer().await);
                }
                answers
            }
            _ => {
                let body = Value::from(said).to_string();
                let answer = to.posts.ask(&post(&to.session, bearer, body.as_bytes())).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                answer.json()["replies"].as_array().expect("replies").clone()
            }
        }
    }

    pub(crate) async fn post(&self, session: &str, bearer: &str, body: &[u8]) -> Answer {
        self.ask(&post(session, bearer, body)).await
    }
}

fn post(session: &str, bearer: &str, body: &[u8]) -> Asked {
    let path = format!("/v1/commands?session={session}");
    Asked::new("POST", path).with("authorization", bearer).json().body(body)
}

/// A connection that stays open between requests.
pub(crate) enum Connection {
    Http1(Line),
    Http2(&'static str, Http2),
}

impl Connection {
    pub(crate) async fn ask(&mut self, asked: &Asked) -> Answer {
        match self {
            Self::Http1(line) => {
                line.write(asked.head()).await;
                line.write(&asked.body).await;
                line.answer_to(asked.method).await
            }
            Self::Http2(scheme, http2) => {
                let uri = format!("{scheme}://{NAME}{}", asked.path);
                let answer = http2.ask(asked.method, &uri, &asked.header_refs(), &asked.body).await;
                answer.expect("an answer")
            }
        }
    }
}

/// A session, the connection it reads by if that stays open, and the one it posts on.
pub(crate) struct Attached {
    pub(crate) session: String,
    pub(crate) line: Option<Line>,
    posts: Connection,
}

/// The three ways to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Ws,
    Sse,
    Poll,
}

pub(crate) const TRANSPORTS: [Transport; 3] = [Transport::Ws, Transport::Sse, Transport::Poll];

impl Transport {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Ws => "/v1/ws",
            Self::Sse => "/v1/sse",
            Self::Poll => "/v1/poll",
        }
    }
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// A command's answer is an error with this code.
#[track_caller]
pub(crate) fn refused(answer: &Value, code: &str) {
    is_error(answer, code);
}
