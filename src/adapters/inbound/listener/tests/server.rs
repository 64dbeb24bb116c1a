//! A listener with a router that shows what a test needs to see.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::{Request, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapters::inbound::listener::accept::{Terms, serve};
use crate::adapters::inbound::listener::bind::bind;
use crate::adapters::inbound::listener::config::Config;
use crate::adapters::inbound::listener::later::later;
use crate::adapters::inbound::listener::slot::{ConnectionSlot, Slots};
use crate::adapters::inbound::listener::stream::{Source, stream as stream_of};
use crate::adapters::inbound::listener::tls::ServerTls;
use crate::adapters::inbound::listener::transport::Transport;
use crate::adapters::inbound::listener::upgrade::Upgrade;

/// Far more than anything here takes: reached only when what is waited for never comes.
const DEADLINE: Duration = Duration::from_secs(10);

const CONNECTIONS_MAX: usize = 1000;

/// What `/source` says after "one".
pub(super) const SOURCE_SECOND: &str = "two, and some more";

/// What `/big` answers.
pub(super) const BIG_BYTES: usize = 8 * 1024 * 1024;

/// Waits for an event, not for ever.
pub(super) async fn soon<F: Future>(event: F) -> F::Output {
    tokio::time::timeout(DEADLINE, event).await.expect("it happens within the deadline")
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) tracker: TaskTracker,
    pub(super) soft: CancellationToken,
    pub(super) hard: CancellationToken,
    /// What `/stream` sends; closing it ends the stream.
    pub(super) chunks: mpsc::Sender<&'static str>,
    later: Arc<LaterAnswer>,
}

/// What goes on at `/later`.
#[derive(Default)]
struct LaterAnswer {
    waits: Notify,
    answer: Notify,
    dropped: Notify,
}

impl LaterAnswer {
    async fn answer(self: Arc<Self>) -> Response {
        struct Dropped(Arc<LaterAnswer>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.dropped.notify_one();
            }
        }
        let _dropped = Dropped(self.clone());
        self.waits.notify_one();
        self.answer.notified().await;
        "now".into_response()
    }
}

impl Server {
    pub(super) fn start(config: Config) -> Self {
        Self::start_with(config, None)
    }

    pub(super) fn start_with(config: Config, tls: Option<ServerTls>) -> Self {
        Self::start_on(Terms { config, slots: Slots::new(CONNECTIONS_MAX), tls })
    }

    /// With so many places.
    pub(super) fn start_within(slots: &Slots) -> Self {
        Self::start_on(Terms { config: Config::default(), slots: slots.clone(), tls: None })
    }

    fn start_on(terms: Terms) -> Self {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let tracker = TaskTracker::new();
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let (chunks, stream) = mpsc::channel(1);
        let later = Arc::<LaterAnswer>::default();
        let task = {
            let (tracker, soft, hard) = (tracker.clone(), soft.clone(), hard.clone());
            let router = router(stream, &later, &tracker);
            async move { serve(listener, router, terms, &tracker, soft, hard).await }
        };
        tracker.spawn(task);
        Self { address, tracker, soft, hard, chunks, later }
    }

    pub(super) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Somebody waits at `/later`.
    pub(super) async fn waits(&self) {
        soon(self.later.waits.notified()).await;
    }

    /// Answers whoever waits at `/later`.
    pub(super) fn answer_later(&self) {
        self.later.answer.notify_one();
    }

    /// Who waited at `/later` does so no more.
    pub(super) async fn later_dropped(&self) {
        soon(self.later.dropped.notified()).await;
    }

    /// The loop and all connections are over.
    pub(super) async fn ended(&self) {
        self.tracker.close();
        soon(self.tracker.wait()).await;
    }
}

fn router(
    stream: mpsc::Receiver<&'static str>,
    later_answer: &Arc<LaterAnswer>,
    tracker: &TaskTracker,
) -> axum::Router {
    let later_answer = later_answer.clone();
    let mark = |mut response: Response| async {
        response.headers_mut().insert("x-layer", http::HeaderValue::from_static("was here"));
        response
    };
    let stream = Arc::new(Mutex::new(Some(stream)));
    axum::Router::new()
        .route("/peer", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }))
        .route("/echo", post(|body: String| async { body }))
        .route("/asked", any(|asked: Request<Body>| async move { format!("{:?}", asked.into_parts().0) }))
        .route("/big", get(|| async { "b".repeat(BIG_BYTES) }))
        .route(
            "/later",
            get(async move || later(later_answer.answer())).layer(axum::middleware::map_response(mark)),
        )
        .route("/panics", get(async || later(async { panic!("as asked") })))
        .route("/never", get(pending::<StatusCode>))
        .route(
            "/stream",
            get(async move || {
                let chunks = stream.lock().await.take().expect("streamed once");
                Body::from_stream(
                    ReceiverStream::new(chunks).map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk))),
                )
            }),
        )
        .route("/source", get(async || stream_of(Counts(0))).layer(axum::middleware::map_response(mark)))
        .route("/upgrade", any(upgrade).layer(Extension(tracker.clone())))
}

/// Says one, then two, then nothing more.
struct Counts(u8);

impl Source for Counts {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<bool> {
        self.0 += 1;
        match self.0 {
            1 => out.extend_from_slice(b"one"),
            2 => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            3 => out.extend_from_slice(SOURCE_SECOND.as_bytes()),
            _ => return Poll::Ready(false),
        }
        Poll::Ready(true)
    }
}

/// Takes the socket over and echoes, as a WebSocket would: bare on HTTP/1.1, generic on HTTP/2.
async fn upgrade(
    Extension(slot): Extension<ConnectionSlot>,
    Extension(tracker): Extension<TaskTracker>,
    mut request: Request<Body>,
) -> Response {
    let version = request.version();
    let Some(upgrade) = Upgrade::take(&mut request) else { return StatusCode::BAD_REQUEST.into_response() };
    tracker.spawn(async move {
        let (mut stream, read_ahead) = upgrade.connection().await.unwrap();
        let through_hyper = matches!(stream, Transport::Upgraded(_));
        assert_eq!(through_hyper, version == http::Version::HTTP_2, "HTTP/1.1 gives back the bare stream");
        stream.write_all(&read_ahead).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        // Whoever goes without a word ends it as well.
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        drop(slot);
    });
    if version == http::Version::HTTP_2 {
        StatusCode::OK.into_response()
    } else {
        (StatusCode::SWITCHING_PROTOCOLS, [("upgrade", "echo"), ("connection", "upgrade")]).into_response()
    }
}

/// A peer that writes what it likes.
pub(super) struct Client<Io = TcpStream>(pub(super) Io);

impl Client {
    /// Writes one byte at a time, each a segment of its own.
    pub(super) async fn send_bytewise(&mut self, bytes: &[u8]) {
        self.0.set_nodelay(true).unwrap();
        for byte in bytes {
            self.send([*byte]).await;
            tokio::task::yield_now().await;
        }
    }

    /// Sends a request that keeps the connection, and reads the answer, which ends with the client's address.
    pub(super) async fn ask_peer(&mut self) -> String {
        self.send("GET /peer HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let own = self.0.local_addr().unwrap().to_string();
        self.read_until(&own).await
    }

    /// Ends a header that was begun, so that `/peer` is asked.
    pub(super) async fn ask_rest_of_header(&mut self) -> String {
        self.send("host: x\r\n\r\n").await;
        let own = self.0.local_addr().unwrap().to_string();
        self.read_until(&own).await
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Client<Io> {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until the answer ends with this.
    pub(super) async fn read_until(&mut self, end: &str) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let so_far = String::from_utf8_lossy(&answer).into_owned();
            let byte = soon(self.0.read_u8()).await;
            answer.push(byte.unwrap_or_else(|error| panic!("{error} after {so_far:?}")));
        }
        String::from_utf8(answer).unwrap()
    }

    /// What comes before the server closes the connection, be it politely or by a reset.
    pub(super) async fn read_until_closed(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        let _reset_counts_too = soon(self.0.read_to_end(&mut answer)).await;
        answer
    }

    /// Begins to read `/stream`.
    pub(super) async fn open_stream(&mut self) {
        self.send("GET /stream HTTP/1.1\r\nhost: x\r\n\r\n").await;
        self.read_until("\r\n\r\n").await;
    }
}
