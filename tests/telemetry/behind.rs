//! What a node calls: a collector of traces, and a Store that notes what comes beside each call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeway::proto::store::v1 as proto;
use edgeway::proto::store::v1::message_store_server::{MessageStore, MessageStoreServer};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came, for whoever waits for it.
#[derive(Clone)]
pub(crate) struct Seen<T>(Arc<watch::Sender<Vec<T>>>);

impl<T: Clone> Seen<T> {
    fn new() -> Self {
        Self(Arc::new(watch::channel(Vec::new()).0))
    }

    fn add(&self, more: impl IntoIterator<Item = T>) {
        self.0.send_modify(|seen| seen.extend(more));
    }

    /// All that came, once this is among it.
    pub(crate) async fn with(&self, what: &str, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut seen = self.0.subscribe();
        let found = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| seen.iter().any(&wanted))).await;
        found.unwrap_or_else(|_| panic!("{what} did not come")).unwrap().clone()
    }
}

struct Collector(Seen<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            assert!(format!("{attributes:?}").contains("edgeway"), "{attributes:?}");
            self.0.add(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector, and what it is sent.
pub(crate) async fn collector() -> (SocketAddr, Seen<Span>) {
    let seen = Seen::new();
    let address =
        serve(Server::builder().add_service(TraceServiceServer::new(Collector(seen.clone())))).await;
    (address, seen)
}

async fn serve(router: tonic::transport::server::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    TaskTracker::new().spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// A method, and what came beside the call.
pub(crate) type Call = (&'static str, MetadataMap);

struct Store(Seen<Call>);

#[tonic::async_trait]
impl MessageStore for Store {
    async fn send(
        &self,
        request: Request<proto::SendRequest>,
    ) -> Result<Response<proto::SendResponse>, Status> {
        self.0.add([("Send", request.metadata().clone())]);
        let asked = request.into_inner();
        let message = proto::Message {
            message_id: "m1".to_owned(),
            dialog_id: asked.dialog_id,
            seq: 1,
            sender_id: asked.user_id,
            client_message_id: asked.client_message_id,
            body: asked.body,
            reply_to: asked.reply_to,
            created_at: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        };
        Ok(Response::new(proto::SendResponse { message: Some(message), duplicate: false }))
    }

    async fn read_upto(
        &self,
        _: Request<proto::ReadUptoRequest>,
    ) -> Result<Response<proto::ReadUptoResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn check_membership(
        &self,
        request: Request<proto::CheckMembershipRequest>,
    ) -> Result<Response<proto::CheckMembershipResponse>, Status> {
        self.0.add([("CheckMembership", request.metadata().clone())]);
        let member = |dialog_id| proto::Membership {
            dialog_id,
            member: true,
            can_read: true,
            can_write: true,
            role: "member".to_owned(),
            version: 1,
            member_count: 1,
            ..Default::default()
        };
        let memberships = request.into_inner().dialog_ids.into_iter().map(member).collect();
        Ok(Response::new(proto::CheckMembershipResponse { memberships }))
    }

    async fn get_history(
        &self,
        _: Request<proto::GetHistoryRequest>,
    ) -> Result<Response<proto::GetHistoryResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_dialogs(
        &self,
        _: Request<proto::ListDialogsRequest>,
    ) -> Result<Response<proto::ListDialogsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A Store, and how it is called.
pub(crate) async fn store() -> (SocketAddr, Seen<Call>) {
    let seen = Seen::new();
    let address = serve(Server::builder().add_service(MessageStoreServer::new(Store(seen.clone())))).await;
    (address, seen)
}
