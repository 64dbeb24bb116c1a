//! A Store that is served, a client of it, and a log that remembers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use edgeway::adapters::outbound::store_grpc::client::GrpcMessageStore;
use edgeway::adapters::outbound::store_grpc::config::Config as ClientConfig;
use edgeway::application::ports::bus::{Appended, BusError, EventLog};
use edgeway::application::ports::clock::Clock;
use edgeway::application::ports::store::CallContext;
use edgeway::domain::body::MessageBody;
use edgeway::domain::event::LogPosition;
use edgeway::domain::ids::{ClientMessageId, DialogId, FeedKey, SessionId, UserId};
use edgeway::domain::message::Draft;
use edgeway::domain::time::{Tick, UnixMillis};
use edgeway::reference_store::database::Database;
use edgeway::reference_store::dialogs::Dialogs;
use edgeway::reference_store::role::{Member, MemberRole};
use edgeway::reference_store::server::{Config, ReferenceStore};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// No condition takes longer than this to come true.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct TestClock(Instant);

impl TestClock {
    pub(crate) fn shared() -> Arc<dyn Clock> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for TestClock {
    fn tick(&self) -> Tick {
        Tick(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    fn unix(&self) -> UnixMillis {
        UnixMillis(1_785_000_000_000 + self.tick().0)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) feed: String,
    pub(crate) key: String,
    pub(crate) event: Value,
}

#[derive(Default)]
struct LogState {
    appended: Vec<Recorded>,
    refusals_left: usize,
    refused_feed: Option<String>,
    refused: usize,
}

/// Remembers what is appended, and fails when told to.
#[derive(Default)]
pub(crate) struct RecordingLog {
    state: Mutex<LogState>,
    changed: Notify,
}

impl RecordingLog {
    pub(crate) fn refuse_next(&self, appends: usize) {
        self.state.lock().refusals_left = appends;
    }

    pub(crate) fn refuse_feed(&self, feed: Option<&str>) {
        self.state.lock().refused_feed = feed.map(Into::into);
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.state.lock().appended.clone()
    }

    pub(crate) fn of(&self, feed: &str) -> Vec<Recorded> {
        self.all().into_iter().filter(|recorded| recorded.feed == feed).collect()
    }

    pub(crate) async fn until_appended(&self, count: usize) -> Vec<Recorded> {
        self.until(|state| state.appended.len() >= count).await;
        self.all()
    }

    pub(crate) async fn until_refused(&self, count: usize) {
        self.until(|state| state.refused >= count).await;
    }

    async fn until(&self, condition: impl Fn(&LogState) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if condition(&self.state.lock()) {
                    return;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the log comes to this");
    }
}

#[async_trait]
impl EventLog for RecordingLog {
    async fn append(&self, feed: &FeedKey, event_key: &str, json: Bytes) -> Result<Appended, BusError> {
        let feed = feed.to_string();
        let mut state = self.state.lock();
        let outcome = if state.refusals_left > 0 || state.refused_feed.as_ref() == Some(&feed) {
            state.refusals_left = state.refusals_left.saturating_sub(1);
            state.refused += 1;
            Err(BusError::Unavailable)
        } else {
            let event = serde_json::from_slice(&json).unwrap();
            state.appended.push(Recorded { feed, key: event_key.into(), event });
            let position = LogPosition { epoch: "e".into(), offset: state.appended.len() as u64 };
            Ok(Appended { position, at: UnixMillis(0), repeated: false })
        };
        drop(state);
        self.changed.notify_waiters();
        outcome
    }
}

/// A Store under test.
pub(crate) struct Served {
    pub(crate) client: Arc<GrpcMessageStore>,
    pub(crate) log: Arc<RecordingLog>,
    pub(crate) dialogs: Dialogs,
    pub(crate) address: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stopped: DropGuard,
}

impl Served {
    /// Ends the Store and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        drop(self.client);
        timeout(PATIENCE, self.tasks.wait()).await.expect("the Store ends when told to");
    }
}

pub(crate) async fn open_store() -> Served {
    serve(Database::Memory, true, Arc::default()).await
}

pub(crate) async fn members_only_store() -> Served {
    serve(Database::Memory, false, Arc::default()).await
}

pub(crate) async fn serve(database: Database, open: bool, log: Arc<RecordingLog>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = ReferenceStore::open(&Config { database, open }, log.clone(), TestClock::shared()).unwrap();
    let dialogs = store.dialogs();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let serving = store.serve(listener, stop.clone());
    tasks.spawn(async move { serving.await.unwrap() });
    let _stopped = stop.clone().drop_guard();
    Served { client: client(ClientConfig::new(url(address))), log, dialogs, address, tasks, stop, _stopped }
}

pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

pub(crate) fn client(config: ClientConfig) -> Arc<GrpcMessageStore> {
    Arc::new(GrpcMessageStore::connect_lazy(config, TestClock::shared()).unwrap())
}

/// Runs something beside the test until it is aborted.
pub(crate) fn beside<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    TaskTracker::new().spawn(future)
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub(crate) fn dialog(id: &str) -> DialogId {
    DialogId::parse(id).unwrap()
}

pub(crate) fn member(id: &str, role: &str) -> Member {
    Member { user_id: user(id), role: MemberRole::parse(role).unwrap() }
}

pub(crate) fn call(id: &str) -> CallContext {
    CallContext { user_id: user(id), session_id: Some(SessionId::parse("s1").unwrap()) }
}

pub(crate) fn draft(dialog_id: &str, client_message_id: &str, text: &str) -> Draft {
    Draft {
        dialog_id: dialog(dialog_id),
        client_message_id: ClientMessageId::parse(client_message_id).unwrap(),
        body: MessageBody::new(text.into(), vec![]).unwrap(),
        reply_to: None,
    }
}
