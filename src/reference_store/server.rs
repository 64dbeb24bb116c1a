//! The Store as a whole: opened, handed out, served.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::admin::DialogAdminService;
use super::database::{Database, OpenError};
use super::dialogs::Dialogs;
use super::members::Admission;
use super::outbox::Publisher;
use super::service::MessageStoreService;
use super::transactions::Transactions;
use crate::application::ports::bus::EventLog;
use crate::application::ports::clock::Clock;
use crate::proto::store::admin::v1::dialog_admin_server::DialogAdminServer;
use crate::proto::store::v1::message_store_server::MessageStoreServer;

/// How often a silent connection is asked whether it is still there, and how long it may take to say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest call: callers that set no deadline have this one.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Most calls that one connection may have under way.
const CONNECTION_STREAMS_MAX: u32 = 1024;
/// How long calls that are under way may take to end after the Store was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Which database, and who may come in.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the data lies.
    pub database: Database,
    /// Whether every dialog exists and every user is a member of it, but for dialogs that were created.
    pub open: bool,
}

/// A Store with its database, not served yet.
pub struct ReferenceStore {
    transactions: Transactions,
    admission: Admission,
    publisher: Publisher,
    clock: Arc<dyn Clock>,
}

impl ReferenceStore {
    /// Opens the database. What happens is going to be appended to `log`.
    ///
    /// # Errors
    /// [`OpenError`] when the database can't be used.
    pub fn open(config: &Config, log: Arc<dyn EventLog>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let committed = Arc::new(Notify::new());
        let transactions = Transactions::start(config.database.open()?, committed.clone())?;
        let publisher = Publisher::new(transactions.clone(), log, committed);
        let admission = if config.open { Admission::Open } else { Admission::MembersOnly };
        Ok(Self { transactions, admission, publisher, clock })
    }

    /// A handle for managing dialogs from within the process. What it changes is published once the Store is served.
    #[must_use]
    pub fn dialogs(&self) -> Dialogs {
        Dialogs::new(self.transactions.clone(), self.admission)
    }

    /// Serves `MessageStore`, `DialogAdmin` and `grpc.health.v1`, and publishes what happens, until `stop`. Calls that
    /// are under way then have 5 s to end. What was not published stays in the outbox.
    ///
    /// # Errors
    /// When the server itself fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let dialogs = self.dialogs();
        let service = MessageStoreService::new(self.transactions, self.admission, self.clock);
        let stop_publishing = CancellationToken::new();
        let serving = async {
            // Published until the last call is answered, however the serving ends.
            let _stopped = stop_publishing.clone().drop_guard();
            serve_grpc(listener, service, dialogs, stop).await
        };
        let (served, ()) = tokio::join!(serving, self.publisher.run(stop_publishing.clone()));
        served
    }
}

async fn serve_grpc(
    listener: TcpListener,
    service: MessageStoreService,
    dialogs: Dialogs,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<MessageStoreServer<MessageStoreService>>().await;
    health.set_serving::<DialogAdminServer<DialogAdminService>>().await;
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(CONNECTION_STREAMS_MAX)
        .timeout(CALL_TIMEOUT)
        .add_service(health_service)
        .add_service(MessageStoreServer::new(service))
        .add_service(DialogAdminServer::new(DialogAdminService(dialogs)))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.clone().cancelled_owned(),
        );
    let mut server = Box::pin(server);
    tokio::select! {
        ended = &mut server => return ended,
        () = stop.cancelled() => {}
    }
    // Without a limit whoever watches the health would hold the Store for ever.
    timeout(STOP_GRACE, server).await.unwrap_or(Ok(()))
}
