//! HTTP/2 by a well-behaved client, for what is wrong one layer up; and frames by hand, for what is wrong with HTTP/2.

use std::future::Future;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::line::{Line, SOON};

/// What a client begins with (RFC 9113 §3.4), and its empty settings.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    requests: SendRequest<Full<Bytes>>,
    _tasks: TaskTracker,
}

impl Http2 {
    pub(crate) async fn over(line: Line) -> Self {
        let io = TokioIo::new(line.into_io());
        let (requests, connection) =
            soon(handshake(TokioExecutor::new(), io)).await.expect("HTTP/2 is spoken");
        let tasks = TaskTracker::new();
        tasks.spawn(connection);
        Self { requests, _tasks: tasks }
    }

    pub(crate) async fn ask(
        &mut self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, hyper::Error> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).expect("a request");
        let response = soon(self.requests.send_request(request)).await?;
        read(response).await
    }

    /// Extended CONNECT (RFC 8441): a stream, or the refusal.
    pub(crate) async fn connect(
        &mut self,
        protocol: &'static str,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<Line, Answer> {
        // The server's settings are known once anything was answered.
        self.ask("GET", "http://x/v1/nothing", &[], b"").await.expect("an answer");
        let mut request = Request::builder().method(Method::CONNECT).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.extension(Protocol::from_static(protocol)).body(Full::default());
        let response =
            soon(self.requests.send_request(request.expect("a request"))).await.expect("an answer");
        if response.status() != 200 {
            return Err(read(response).await.expect("a body"));
        }
        let upgraded = soon(hyper::upgrade::on(response)).await.expect("a tunnel");
        Ok(Line::new(TokioIo::new(upgraded)))
    }
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let body = soon(body.collect()).await?.to_bytes();
    let headers = head.headers.iter();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: String::from_utf8(body.to_vec()).expect("a body is UTF-8"),
    })
}

async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, event).await.expect("it happens within the deadline")
}

/// A frame (RFC 9113 §4.1).
pub(crate) fn frame2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The error code of the GOAWAY that the server ends the connection with; `None` if it hangs up without.
pub(crate) async fn goaway_code(line: &mut Line, within: Duration) -> Option<u32> {
    let seen = line.read_to_end(within).await;
    let mut bytes = seen.as_slice();
    let mut code = None;
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let (payload, after) = rest.split_at(length.min(rest.len()));
        if *kind == GOAWAY {
            code = payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("four bytes")));
        }
        bytes = after;
    }
    code
}
