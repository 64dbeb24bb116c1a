//! A Store that works, with trouble before it.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use edgeway::proto::store::v1 as proto;
use edgeway::proto::store::v1::message_store_client::MessageStoreClient;
use edgeway::proto::store::v1::message_store_server::{MessageStore as Service, MessageStoreServer};
use futures_util::StreamExt;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::harness::{Served, beside, open_store, url};

/// What stands before a Store that works.
#[derive(Clone)]
pub(crate) enum Trouble {
    /// Sends never come back.
    SendsHang,
    /// The first send is told to come again later.
    ComeAgain(Duration),
    /// The first send waits until it is let go, and is carried out then.
    FirstSendWaits(Arc<Notify>),
    /// The first send is carried out, which is told, and never answered.
    FirstSendIsNotAnswered(Arc<Notify>),
    /// The first send is carried out, and answered with so many bytes of text or more; every history with as many messages
    /// as that takes.
    LongAnswers(usize),
    None,
}

struct Before {
    trouble: Trouble,
    sends: Arc<AtomicUsize>,
    histories: Arc<AtomicUsize>,
    behind: MessageStoreClient<Channel>,
}

#[async_trait]
impl Service for Before {
    async fn send(
        &self,
        request: Request<proto::SendRequest>,
    ) -> Result<Response<proto::SendResponse>, Status> {
        let turn = self.sends.fetch_add(1, Ordering::SeqCst);
        let mut behind = self.behind.clone();
        match &self.trouble {
            Trouble::SendsHang => pending().await,
            Trouble::ComeAgain(after) if turn == 0 => {
                let details = ErrorDetails::with_retry_info(Some(*after));
                return Err(Status::with_error_details(Code::ResourceExhausted, "slow down", details));
            }
            Trouble::FirstSendWaits(let_go) if turn == 0 => let_go.notified().await,
            Trouble::FirstSendIsNotAnswered(done) if turn == 0 => {
                behind.send(request.into_inner()).await?;
                done.notify_one();
                return pending().await;
            }
            Trouble::LongAnswers(bytes) if turn == 0 => {
                let mut answer = behind.send(request.into_inner()).await?;
                let message = answer.get_mut().message.as_mut().expect("a message");
                message.body.as_mut().expect("a body").text = "x".repeat(*bytes);
                return Ok(answer);
            }
            _ => {}
        }
        behind.send(request.into_inner()).await
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
        self.histories.fetch_add(1, Ordering::SeqCst);
        let mut answer = self.behind.clone().get_history(request.into_inner()).await?;
        if let Trouble::LongAnswers(bytes) = self.trouble {
            let messages = &mut answer.get_mut().messages;
            let one = messages.pop().expect("a message");
            let count = bytes / one.encoded_len() + 1;
            *messages = (1..).map(|seq| proto::Message { seq, ..one.clone() }).take(count).collect();
        }
        Ok(answer)
    }

    async fn list_dialogs(
        &self,
        request: Request<proto::ListDialogsRequest>,
    ) -> Result<Response<proto::ListDialogsResponse>, Status> {
        self.behind.clone().list_dialogs(request.into_inner()).await
    }
}

/// A Store with trouble before it.
pub(crate) struct Troubled {
    pub(crate) address: SocketAddr,
    /// How many were asked for.
    pub(crate) sends: Arc<AtomicUsize>,
    pub(crate) histories: Arc<AtomicUsize>,
    /// How many were made to it.
    pub(crate) connections: Arc<AtomicUsize>,
    /// Without the trouble.
    pub(crate) behind: Served,
}

/// Connections are asked to end (by GOAWAY) at this age, if there is one.
pub(crate) async fn troubled(trouble: Trouble, connection_age: Option<Duration>) -> Troubled {
    let behind = open_store().await;
    let forward = MessageStoreClient::connect(url(behind.address)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counter = Arc::<AtomicUsize>::default;
    let troubled =
        Troubled { address, sends: counter(), histories: counter(), connections: counter(), behind };
    let connections = troubled.connections.clone();
    let incoming = TcpListenerStream::new(listener).inspect(move |_| {
        connections.fetch_add(1, Ordering::SeqCst);
    });
    let (sends, histories) = (troubled.sends.clone(), troubled.histories.clone());
    let service = MessageStoreServer::new(Before { trouble, sends, histories, behind: forward });
    let mut server = Server::builder();
    if let Some(age) = connection_age {
        server = server.max_connection_age(age);
    }
    beside(server.add_service(service).serve_with_incoming(incoming));
    troubled
}
