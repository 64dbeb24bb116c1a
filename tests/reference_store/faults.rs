//! A Store that fails, hangs, goes away and comes back, as the gateway's client sees it.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use edgeway::adapters::outbound::store_grpc::breaker;
use edgeway::adapters::outbound::store_grpc::client::GrpcMessageStore;
use edgeway::adapters::outbound::store_grpc::config::Config;
use edgeway::adapters::outbound::store_grpc::retry::Deadline;
use edgeway::application::ports::store::{HistoryRange, MessageStore, StoreError};
use edgeway::proto::store::v1 as proto;
use edgeway::proto::store::v1::message_store_client::MessageStoreClient;
use edgeway::proto::store::v1::message_store_server::{MessageStore as Service, MessageStoreServer};
use edgeway::reference_store::database::Database;
use edgeway::reference_store::server::{Config as StoreConfig, ReferenceStore};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

use crate::harness::{RecordingLog, TestClock, beside, call, client, dialog, draft, open_store, url};

const SHORT: Deadline = Deadline { attempt: Duration::from_millis(300), total: Duration::from_millis(2000) };

/// What a scripted Store does with a `Send`.
#[derive(Clone)]
enum Step {
    Fail(Code),
    /// Has it committed by the Store behind, and then never answers.
    CommitAndHang(MessageStoreClient<Channel>),
    Forward(MessageStoreClient<Channel>),
    /// Answers with something that is against the contract.
    BreakContract,
}

/// Follows a script, whose last step repeats.
struct ScriptedStore {
    script: Vec<Step>,
    sends: Arc<AtomicUsize>,
    metadata: Arc<Mutex<Vec<MetadataMap>>>,
}

struct Scripted {
    address: SocketAddr,
    sends: Arc<AtomicUsize>,
    metadata: Arc<Mutex<Vec<MetadataMap>>>,
}

async fn scripted(script: Vec<Step>) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let scripted = Scripted { address, sends: Arc::default(), metadata: Arc::default() };
    let (sends, metadata) = (scripted.sends.clone(), scripted.metadata.clone());
    let service = MessageStoreServer::new(ScriptedStore { script, sends, metadata });
    beside(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
    scripted
}

#[async_trait]
impl Service for ScriptedStore {
    async fn send(
        &self,
        request: Request<proto::SendRequest>,
    ) -> Result<Response<proto::SendResponse>, Status> {
        self.metadata.lock().push(request.metadata().clone());
        let turn = self.sends.fetch_add(1, Ordering::SeqCst);
        match self.script[turn.min(self.script.len() - 1)].clone() {
            Step::Fail(code) => Err(Status::new(code, "scripted")),
            Step::CommitAndHang(mut behind) => {
                behind.send(request.into_inner()).await?;
                pending().await
            }
            Step::Forward(mut behind) => behind.send(request.into_inner()).await,
            Step::BreakContract => Ok(Response::new(proto::SendResponse::default())),
        }
    }

    async fn read_upto(
        &self,
        _: Request<proto::ReadUptoRequest>,
    ) -> Result<Response<proto::ReadUptoResponse>, Status> {
        Err(Status::unauthenticated("who are you?"))
    }

    async fn check_membership(
        &self,
        _: Request<proto::CheckMembershipRequest>,
    ) -> Result<Response<proto::CheckMembershipResponse>, Status> {
        pending().await
    }

    async fn get_history(
        &self,
        _: Request<proto::GetHistoryRequest>,
    ) -> Result<Response<proto::GetHistoryResponse>, Status> {
        Err(Status::unimplemented("no history here"))
    }

    async fn list_dialogs(
        &self,
        _: Request<proto::ListDialogsRequest>,
    ) -> Result<Response<proto::ListDialogsResponse>, Status> {
        let oversized =
            proto::ListDialogsResponse { dialogs: vec![], next_page_token: "x".repeat(5 * 1024 * 1024) };
        Ok(Response::new(oversized))
    }
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        let mut ticks = interval(Duration::from_millis(5));
        while !condition() {
            ticks.tick().await;
        }
    };
    timeout(Duration::from_secs(20), wait).await.expect("it comes to this");
}

/// An address where nobody listens.
async fn dead_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn an_unavailable_store_is_asked_three_times_at_most() {
    for (code, error) in [
        (Code::Unavailable, StoreError::Unavailable),
        (Code::DeadlineExceeded, StoreError::Timeout),
        (Code::Aborted, StoreError::Internal),
    ] {
        let store = scripted(vec![Step::Fail(code)]).await;
        let client = client(Config::new(url(store.address)));
        assert_eq!(client.send(&call("alice"), &draft("d1", "c1", "x")).await, Err(error));
        assert_eq!(store.sends.load(Ordering::SeqCst), 3, "{code:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_asked_for_once() {
    for (code, error) in [
        (Code::PermissionDenied, StoreError::NotMember),
        (Code::ResourceExhausted, StoreError::RateLimited { retry_after: None }),
        (Code::Internal, StoreError::Internal),
    ] {
        let store = scripted(vec![Step::Fail(code)]).await;
        let client = client(Config::new(url(store.address)));
        assert_eq!(client.send(&call("alice"), &draft("d1", "c1", "x")).await, Err(error));
        assert_eq!(store.sends.load(Ordering::SeqCst), 1, "{code:?}");
    }
}

#[tokio::test]
async fn two_failures_and_then_success_are_one_success_under_one_request_id() {
    let behind = open_store().await;
    let forward = MessageStoreClient::connect(url(behind.address)).await.unwrap();
    let fail = Step::Fail(Code::Unavailable);
    let store = scripted(vec![fail.clone(), fail, Step::Forward(forward)]).await;
    let client = client(Config::new(url(store.address)));
    let sent = client.send(&call("alice"), &draft("d1", "c1", "x")).await.unwrap();
    assert_eq!(sent.message.seq, 1);
    let metadata = store.metadata.lock();
    assert_eq!(metadata.len(), 3);
    for name in ["traceparent", "x-request-id", "x-session-id"] {
        assert!(metadata[0].get(name).is_some(), "{name}");
        assert!(metadata.iter().all(|attempt| attempt.get(name) == metadata[0].get(name)), "{name}");
    }
    assert!(metadata.iter().all(|attempt| attempt.get("grpc-timeout").is_some()));
}

#[tokio::test]
async fn a_deadline_after_the_commit_and_then_success_leave_one_message() {
    let behind = open_store().await;
    let forward = MessageStoreClient::connect(url(behind.address)).await.unwrap();
    let store = scripted(vec![Step::CommitAndHang(forward.clone()), Step::Forward(forward)]).await;
    let client = client(Config { send: SHORT, ..Config::new(url(store.address)) });
    let alice = call("alice");
    let sent = client.send(&alice, &draft("d1", "c1", "x")).await.unwrap();
    assert!(sent.duplicate, "the first attempt had committed it");
    assert_eq!(store.sends.load(Ordering::SeqCst), 2);
    let page = behind.client.history(&alice, &dialog("d1"), HistoryRange::Newest, 10).await.unwrap();
    assert_eq!(page.messages, [sent.message]);
}

#[tokio::test]
async fn what_a_store_should_not_do_has_an_answer_all_the_same() {
    let store = scripted(vec![Step::BreakContract]).await;
    let client = client(Config { check_membership: SHORT, ..Config::new(url(store.address)) });
    let (alice, d1) = (call("alice"), dialog("d1"));
    assert_eq!(client.send(&alice, &draft("d1", "c1", "x")).await, Err(StoreError::Internal));
    assert_eq!(client.read_upto(&alice, &d1, 1).await, Err(StoreError::Unavailable));
    let history = client.history(&alice, &d1, HistoryRange::Newest, 1).await;
    assert_eq!(history, Err(StoreError::Unimplemented));
    assert_eq!(client.list_dialogs(&alice, 1, None).await, Err(StoreError::Internal));
    assert_eq!(client.check_membership(&alice, std::slice::from_ref(&d1)).await, Err(StoreError::Timeout));
    assert_eq!(client.check_membership(&alice, &vec![d1; 201]).await, Err(StoreError::Invalid));
}

#[tokio::test]
async fn one_dead_and_one_silent_endpoint_of_three_fail_no_call() {
    let behind = open_store().await;
    // It accepts connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoints = [dead_address().await, silent.local_addr().unwrap(), behind.address].map(url).to_vec();
    let client = client(Config { endpoints, send: SHORT, ..Config::new("") });
    for n in 0..20 {
        client.send(&call("alice"), &draft("d1", &format!("c{n}"), "x")).await.unwrap();
    }
}

#[tokio::test]
async fn the_circuit_opens_when_the_store_is_gone_and_closes_when_it_is_back_though_nobody_calls() {
    let address = dead_address().await;
    let config = Config {
        health_interval: Duration::from_millis(50),
        breaker: breaker::Config {
            sustained_for: Duration::from_millis(100),
            open_for: Duration::from_millis(100),
            ..breaker::Config::default()
        },
        ..Config::new(url(address))
    };
    let client: Arc<GrpcMessageStore> = client(config);
    let stop = CancellationToken::new();
    let watch = beside({
        let (client, stop) = (client.clone(), stop.clone());
        async move { client.watch_health(stop).await }
    });
    until(|| client.circuit_open()).await;

    let config = StoreConfig { database: Database::Memory, open: true };
    let log = Arc::new(RecordingLog::default());
    let store = ReferenceStore::open(&config, log, TestClock::shared()).unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    let serving = store.serve(listener, stop.clone());
    let served = beside(serving);
    until(|| !client.circuit_open()).await;
    client.send(&call("alice"), &draft("d1", "c1", "x")).await.unwrap();

    stop.cancel();
    watch.await.unwrap();
    served.await.unwrap().unwrap();
}
