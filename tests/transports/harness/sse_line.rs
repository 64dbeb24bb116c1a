//! Server-sent events, by reqwest and the parser beside this.

use std::collections::VecDeque;

use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::attach::Attach;
use super::ending::Ended;
use super::json::strict;
use super::line::Heard;
use super::runner::within;
use super::sse_parser::{Block, SseParser};
use super::transport::Transport;
use super::user::User;

/// Least bytes of the opening comment, which makes proxies and old browsers let go of what they buffer.
const PADDING_BYTES: usize = 2048;

/// An open event stream.
#[derive(Debug)]
pub(crate) struct SseLine {
    response: Response,
    parser: SseParser,
    blocks: VecDeque<Block>,
    /// What stood before the first event.
    opening: Option<Opening>,
    comment_bytes: usize,
    retry: Option<u64>,
    /// What a native `EventSource` would send as `Last-Event-ID`.
    last_event_id: Option<String>,
}

/// What an event stream opens with.
#[derive(Debug, Clone)]
struct Opening {
    comment_bytes: usize,
    retry: Option<u64>,
}

impl SseLine {
    /// Opens an event stream and checks its head; its first event is still to come.
    ///
    /// # Errors
    /// The HTTP answer, if it wasn't 200.
    pub(crate) async fn open(user: &User, attach: &Attach) -> Result<Self, Ended> {
        let path = attach.path_and_query(Transport::Sse.path(), &[]);
        let asking = user.try_ask(reqwest::Method::GET, &path, attach);
        let response = match within("the head of the event stream", asking).await {
            Ok(response) => response,
            Err(e) => return Err(Ended { note: format!("{path}: {e:?}"), ..Ended::default() }),
        };
        if response.status() != 200 {
            return Err(user.refusal(response).await);
        }
        check_head(response.headers());
        Ok(Self {
            response,
            parser: SseParser::default(),
            blocks: VecDeque::new(),
            opening: None,
            comment_bytes: 0,
            retry: None,
            last_event_id: None,
        })
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            if let Some(block) = self.blocks.pop_front() {
                match self.take(block) {
                    Some(frame) => return Heard::Frame(frame),
                    None => continue,
                }
            }
            let note = match self.response.chunk().await {
                Ok(Some(bytes)) => {
                    self.parser.feed(&bytes);
                    while let Some(block) =
                        self.parser.next_block().unwrap_or_else(|e| panic!("malformed event stream: {e}"))
                    {
                        self.blocks.push_back(block);
                    }
                    continue;
                }
                Ok(None) => {
                    let rest = String::from_utf8_lossy(self.parser.rest()).into_owned();
                    assert!(
                        rest.is_empty(),
                        "a stream that ends well ends between two events, not in {rest:?}"
                    );
                    "the stream ended".to_owned()
                }
                Err(e) => format!("the stream broke: {e:?}"),
            };
            return Heard::Ended(Ended { note, ..Ended::default() });
        }
    }

    /// `S~CURSOR` of the last event that had an id.
    pub(crate) fn last_event_id(&self) -> &str {
        self.last_event_id.as_deref().expect("`welcome` has an id")
    }

    /// The newest `retry`, in milliseconds.
    pub(crate) fn retry(&self) -> Option<u64> {
        self.retry
    }

    fn take(&mut self, block: Block) -> Option<Value> {
        self.comment_bytes += block.comment_bytes;
        self.retry = block.retry.or(self.retry);
        let frame = strict(&block.data?).unwrap_or_else(|e| panic!("every event's data is strict JSON: {e}"));
        if self.opening.is_none() {
            let opening = Opening { comment_bytes: self.comment_bytes, retry: self.retry };
            check_opening(&opening);
            self.opening = Some(opening);
        }
        check_id(block.id.as_deref(), &frame);
        self.last_event_id = block.id.or_else(|| self.last_event_id.take());
        Some(frame)
    }
}

fn check_head(headers: &HeaderMap) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = header("content-type");
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    assert_eq!(media_type, "text/event-stream", "Content-Type: {headers:?}");
    let cache: Vec<&str> = header("cache-control").split(',').map(str::trim).collect();
    for directive in ["no-store", "no-transform"] {
        assert!(cache.contains(&directive), "Cache-Control has {directive}: {headers:?}");
    }
    assert_eq!(header("x-accel-buffering"), "no", "X-Accel-Buffering: {headers:?}");
    assert!(headers.get("content-length").is_none(), "a stream has no length: {headers:?}");
    assert!(headers.get("content-encoding").is_none(), "a stream isn't compressed: {headers:?}");
}

fn check_opening(opening: &Opening) {
    assert!(
        opening.comment_bytes >= PADDING_BYTES,
        "the stream opens with a comment of {PADDING_BYTES} bytes, not {}",
        opening.comment_bytes
    );
    assert!(opening.retry.is_some_and(|ms| ms > 0), "`retry` stands before the first event");
}

/// `welcome` and resumable events have the id `S~CURSOR`; a heartbeat has none.
fn check_id(id: Option<&str>, frame: &Value) {
    match (frame["cursor"].as_str(), id) {
        (Some(cursor), Some(id)) => {
            let end = id.split_once('~').map(|(_, cursor)| cursor);
            assert_eq!(end, Some(cursor), "the id {id:?} ends with the event's cursor: {frame}");
        }
        (Some(_), None) => panic!("an event with a cursor has an id: {frame}"),
        (None, id) => assert!(
            frame["type"] != "heartbeat" || id.is_none(),
            "a heartbeat has no id, this one has {id:?}: {frame}"
        ),
    }
}

/// Reads an event stream's first event with a deadline.
pub(crate) async fn first_frame(line: &mut SseLine) -> Heard {
    within("the first event of the stream", line.hear()).await
}
