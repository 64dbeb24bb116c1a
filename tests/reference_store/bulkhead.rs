//! A Store of which one part fails: the gateway's client keeps it from the others.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use edgeway::adapters::outbound::store_grpc::client::GrpcMessageStore;
use edgeway::adapters::outbound::store_grpc::config::Config;
use edgeway::adapters::outbound::store_grpc::retry::Deadline;
use edgeway::application::ports::store::{HistoryRange, MessageStore, StoreError};
use edgeway::proto::store::v1 as proto;
use edgeway::proto::store::v1::message_store_client::MessageStoreClient;
use edgeway::proto::store::v1::message_store_server::{MessageStore as Service, MessageStoreServer};
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::harness::{Served, beside, call, client, dialog, draft, open_store, url};

const PATIENCE: Duration = Duration::from_secs(20);

/// What stands before a Store that works.
#[derive(Clone, Copy)]
enum Trouble {
    /// Sends never come back.
    SendsHang,
    /// The first send is told to come again later.
    ComeAgain(Duration),
    None,
}

struct Before {
    trouble: Trouble,
    sends: Arc<AtomicUsize>,
    behind: MessageStoreClient<Channel>,
}

#[async_trait]
impl Service for Before {
    async fn send(
        &self,
        request: Request<proto::SendRequest>,
    ) -> Result<Response<proto::SendResponse>, Status> {
        let turn = self.sends.fetch_add(1, Ordering::SeqCst);
        match self.trouble {
            Trouble::SendsHang => pending().await,
            Trouble::ComeAgain(after) if turn == 0 => {
                let details = ErrorDetails::with_retry_info(Some(after));
                Err(Status::with_error_details(Code::ResourceExhausted, "slow down", details))
            }
            Trouble::ComeAgain(_) | Trouble::None => self.behind.clone().send(request.into_inner()).await,
        }
    }

    async fn read_upto(
        &self,
        request: Request<proto::ReadUptoRequest>,
    ) -> Result<Response<proto::ReadUptoResponse>, Status> {
        self.behind.clone().read_upto(request.into_inner()).await
    }

    async fn check_membership(
        &self,
        request: Request<proto::CheckMembershipRequest>,
    ) -> Result<Response<proto::CheckMembershipResponse>, Status> {
        self.behind.clone().check_membership(request.into_inner()).await
    }

    async fn get_history(
        &self,
        request: Request<proto::GetHistoryRequest>,
    ) -> Result<Response<proto::GetHistoryResponse>, Status> {
        self.behind.clone().get_history(request.into_inner()).await
    }

    async fn list_dialogs(
        &self,
        request: Request<proto::ListDialogsRequest>,
    ) -> Result<Response<proto::ListDialogsResponse>, Status> {
        self.behind.clone().list_dialogs(request.into_inner()).await
    }
}

/// A Store with trouble before it.
struct Troubled {
    address: SocketAddr,
    sends: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    _behind: Served,
}

async fn troubled(trouble: Trouble, connection_age: Option<Duration>) -> Troubled {
    let behind = open_store().await;
    let forward = MessageStoreClient::connect(url(behind.address)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let troubled = Troubled { address, sends: Arc::default(), connections: Arc::default(), _behind: behind };
    let connections = troubled.connections.clone();
    let incoming = TcpListenerStream::new(listener).inspect(move |_| {
        connections.fetch_add(1, Ordering::SeqCst);
    });
    let service = MessageStoreServer::new(Before { trouble, sends: troubled.sends.clone(), behind: forward });
    let mut server = Server::builder();
    if let Some(age) = connection_age {
        server = server.max_connection_age(age);
    }
    beside(server.add_service(service).serve_with_incoming(incoming));
    troubled
}

#[tokio::test]
async fn sends_that_hang_leave_every_other_method_as_it_is() {
    /// More than there is room for, at the gateway and on one connection.
    const SENDS: usize = 400;
    const SHORT: Deadline =
        Deadline { attempt: Duration::from_millis(400), total: Duration::from_millis(1000) };
    let store = troubled(Trouble::SendsHang, None).await;
    let client: Arc<GrpcMessageStore> = client(Config { send: SHORT, ..Config::new(url(store.address)) });
    let mut sends = JoinSet::new();
    for n in 0..SENDS {
        let client = client.clone();
        sends.spawn(
            async move { client.send(&call("alice"), &draft("d1", &format!("c{n}"), "x")).await.err() },
        );
    }
    let (alice, d1) = (call("alice"), dialog("d1"));
    let mut rounds = 0;
    while !sends.is_empty() {
        // Each within its own deadline.
        client.check_membership(&alice, std::slice::from_ref(&d1)).await.unwrap();
        client.read_upto(&alice, &d1, 1).await.unwrap();
        client.history(&alice, &d1, HistoryRange::Newest, 1).await.unwrap();
        client.list_dialogs(&alice, 1, None).await.unwrap();
        rounds += 1;
        assert!(!client.circuit_open(), "one method is not the Store");
        while let Some(ended) = sends.try_join_next() {
            let error = ended.unwrap().expect("a send that hangs fails");
            assert!(matches!(error, StoreError::Timeout | StoreError::Unavailable), "{error}");
        }
    }
    assert!(store.sends.load(Ordering::SeqCst) >= 192, "they were under way");
    assert!(rounds > 1, "the others went on meanwhile");
}

#[tokio::test]
async fn the_stores_advice_on_when_to_come_again_is_followed() {
    let after = Duration::from_millis(200);
    let store = troubled(Trouble::ComeAgain(after), None).await;
    let client = client(Config::new(url(store.address)));
    let began = Instant::now();
    client.send(&call("alice"), &draft("d1", "c1", "x")).await.unwrap();
    assert!(began.elapsed() >= after);
    assert_eq!(store.sends.load(Ordering::SeqCst), 2);

    let store = troubled(Trouble::ComeAgain(Duration::from_secs(60)), None).await;
    let client = crate::harness::client(Config::new(url(store.address)));
    let told = client.send(&call("alice"), &draft("d1", "c1", "x")).await;
    let retry_after = Some(Duration::from_secs(60));
    assert_eq!(told, Err(StoreError::RateLimited { retry_after }), "beyond the deadline it is the client's");
}

#[tokio::test]
async fn connections_that_the_store_retires_fail_no_call() {
    const CONNECTIONS: usize = 8;
    let store = troubled(Trouble::None, Some(Duration::from_millis(100))).await;
    let client = client(Config::new(url(store.address)));
    let alice = call("alice");
    let calling = async {
        let mut n = 0;
        while store.connections.load(Ordering::SeqCst) < CONNECTIONS {
            n += 1;
            client.send(&alice, &draft("d1", &format!("c{n}"), "x")).await.unwrap();
            client.check_membership(&alice, &[dialog("d1")]).await.unwrap();
        }
        n
    };
    let sent = timeout(PATIENCE, calling).await.expect("connections are retired again and again");
    assert_eq!(store.sends.load(Ordering::SeqCst), sent, "and none is made twice");
}
