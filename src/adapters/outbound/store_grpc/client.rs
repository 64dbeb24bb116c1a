//! The gateway's client of the Store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::breaker;
use super::endpoints::{Endpoints, StoreEndpoint};
use super::mapping::{self, AttemptError};
use super::metadata::CallMetadata;
use super::retry::{self, Deadline, Retry};
use crate::application::ports::clock::Clock;
use crate::application::ports::store::{
    CallContext, DialogPage, HistoryPage, HistoryRange, MEMBERSHIP_BATCH_MAX, MessageStore, ReadMark, Sent,
    StoreError,
};
use crate::domain::dialog::Membership;
use crate::domain::ids::DialogId;
use crate::domain::message::Draft;
use crate::proto::store::v1::message_store_client::MessageStoreClient;

/// Where the Store is, and how long it is waited for.
#[derive(Debug, Clone)]
pub struct Config {
    /// `http://host:port` or `https://host:port`; calls go to them in turn.
    pub endpoints: Vec<String>,
    /// For `https` endpoints.
    pub tls: Tls,
    /// `Send`.
    pub send: Deadline,
    /// `ReadUpto`.
    pub read_upto: Deadline,
    /// `CheckMembership`.
    pub check_membership: Deadline,
    /// `GetHistory` and `ListDialogs`.
    pub list: Deadline,
    /// Longest TCP (and TLS) connect.
    pub connect_timeout: Duration,
    /// How often an HTTP/2 ping asks whether the other side is still there, idle or not.
    pub keepalive_interval: Duration,
    /// How long a ping may go unanswered before the connection is given up.
    pub keepalive_timeout: Duration,
    /// How often `grpc.health.v1` is asked, and how long an answer may take.
    pub health_interval: Duration,
    /// When a call is tried again.
    pub retry: retry::Config,
    /// When calls fail at once.
    pub breaker: breaker::Config,
}

impl Config {
    /// The defaults, for one endpoint.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        // An attempt that hangs leaves time for a second one, on another connection.
        let two_attempts = |attempt: Duration| Deadline { attempt, total: attempt * 2 };
        Self {
            endpoints: vec![endpoint.into()],
            tls: Tls::default(),
            send: Deadline { attempt: Duration::from_secs(2), total: Duration::from_secs(5) },
            read_upto: two_attempts(Duration::from_secs(1)),
            check_membership: two_attempts(Duration::from_millis(500)),
            list: two_attempts(Duration::from_millis(1500)),
            connect_timeout: Duration::from_secs(1),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            health_interval: Duration::from_secs(1),
            retry: retry::Config::default(),
            breaker: breaker::Config::default(),
        }
    }
}

/// How an `https` endpoint is believed, and how the gateway proves itself to it.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificate authorities, PEM; without them those of the system.
    pub ca_pem: Option<String>,
    /// The name in the Store's certificate, if it isn't the endpoint's host.
    pub server_name: Option<String>,
    /// The gateway's own certificate.
    pub identity: Option<TlsIdentity>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    /// Certificate chain, PEM.
    pub cert_pem: String,
    /// Private key, PEM.
    pub key_pem: SecretString,
}

/// The configuration names no endpoint that could be called.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEndpoint {
    /// There is none at all.
    #[error("store.endpoint is missing")]
    Missing,
    /// It is not `http://host:port` or `https://host:port`.
    #[error("store.endpoint is not an http or https URL with a host")]
    Url,
    /// Certificates or key are not usable.
    #[error("store.tls is not usable: {0}")]
    Tls(#[source] tonic::transport::Error),
}

/// The message store behind gRPC.
pub struct GrpcMessageStore {
    endpoints: Endpoints,
    retry: Retry,
    config: Config,
}

impl GrpcMessageStore {
    /// A client that connects at the first call, and again whenever the connection is lost. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] when an endpoint is not a usable URL.
    pub fn connect_lazy(config: Config, clock: Arc<dyn Clock>) -> Result<Self, InvalidEndpoint> {
        let channels = config
            .endpoints
            .iter()
            .map(|endpoint| Ok(transport(endpoint, &config)?.connect_lazy()))
            .collect::<Result<Vec<_>, InvalidEndpoint>>()?;
        let endpoints = Endpoints::new(channels, clock.clone()).ok_or(InvalidEndpoint::Missing)?;
        let retry = Retry::new(config.retry.clone(), config.breaker.clone(), clock);
        Ok(Self { endpoints, retry, config })
    }

    /// Whether the Store counts as down: calls fail at once, but for one probe now and then.
    #[must_use]
    pub fn circuit_open(&self) -> bool {
        self.retry.breaker().is_open()
    }

    /// Asks `grpc.health.v1` until `stop`, so that the circuit is right even when nobody calls: it opens when the Store
    /// is gone, and closes when it is back. A Store that doesn't serve health counts as well as long as it answers.
    pub async fn watch_health(&self, stop: CancellationToken) {
        let mut ticks = interval(self.config.health_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watch = async {
            loop {
                ticks.tick().await;
                self.check_health().await;
            }
        };
        stop.run_until_cancelled(watch).await;
    }

    async fn check_health(&self) {
        let Some(permit) = self.retry.breaker().admit() else { return };
        let answers = join_all(self.endpoints.iter().map(|endpoint| self.serves(endpoint))).await;
        if !answers.contains(&true) {
            permit.failed();
        } else if permit.is_probe() {
            permit.succeeded();
        }
        // While the circuit is closed a good health answer proves nothing against calls that fail: it counts for nothing.
    }

    async fn serves(&self, endpoint: &StoreEndpoint) -> bool {
        let mut client = HealthClient::new(endpoint.channel());
        let ask = client.check(HealthCheckRequest { service: String::new() });
        let serving = match timeout(self.config.health_interval, ask).await {
            Ok(Ok(answer)) => answer.into_inner().status() == ServingStatus::Serving,
            Ok(Err(status)) => {
                !matches!(mapping::attempt_error(&status), AttemptError::Unavailable | AttemptError::Timeout)
            }
            Err(_) => false,
        };
        if serving {
            self.endpoints.answered(endpoint);
        } else {
            self.endpoints.failed(endpoint);
        }
        serving
    }

    async fn call<Q, A, F, Fut>(
        &self,
        method: &'static str,
        deadline: Deadline,
        call: &CallContext,
        query: Q,
        rpc: F,
    ) -> Result<A, StoreError>
    where
        Q: Clone,
        F: Fn(MessageStoreClient<Channel>, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let metadata = CallMetadata::new(call);
        self.retry
            .run(deadline, |limit| {
                let endpoint = self.endpoints.pick();
                let mut request = Request::new(query.clone());
                metadata.attach(&mut request);
                request.set_timeout(limit);
                let answer = timeout(limit, rpc(MessageStoreClient::new(endpoint.channel()), request));
                let request_id = metadata.request_id();
                async move {
                    let outcome =
                        answer.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
                    outcome.map(Response::into_inner).map_err(|status| {
                        let error = mapping::attempt_error(&status);
                        if matches!(error, AttemptError::Unavailable | AttemptError::Timeout) {
                            self.endpoints.failed(endpoint);
                        }
                        report(method, request_id, &status);
                        error
                    })
                }
            })
            .await
    }
}

/// Logs what an operator should see. The status's text is the Store's: it is logged, and goes no further.
fn report(method: &'static str, request_id: &str, status: &Status) {
    let code = status.code();
    let text = status.message();
    match code {
        Code::Unauthenticated => tracing::error!(
            method,
            request_id,
            text,
            "the Store refuses the gateway's own identity: check store.tls"
        ),
        // What a user may do wrong every day.
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::Unimplemented => tracing::debug!(method, request_id, ?code, text, "the Store said no"),
        _ => tracing::warn!(method, request_id, ?code, text, "a call of the Store failed"),
    }
}

fn transport(url: &str, config: &Config) -> Result<Endpoint, InvalidEndpoint> {
    let uri: http::Uri = url.parse().map_err(|_| InvalidEndpoint::Url)?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(InvalidEndpoint::Url),
    };
    if uri.host().is_none_or(str::is_empty) {
        return Err(InvalidEndpoint::Url);
    }
    let endpoint = Endpoint::from(uri)
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(config.keepalive_interval))
        .http2_keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .keep_alive_while_idle(true);
    if !secure {
        return Ok(endpoint);
    }
    let mut tls = match &config.tls.ca_pem {
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some(name) = &config.tls.server_name {
        tls = tls.domain_name(name);
    }
    if let Some(identity) = &config.tls.identity {
        tls = tls.identity(Identity::from_pem(&identity.cert_pem, identity.key_pem.expose_secret()));
    }
    endpoint.tls_config(tls).map_err(InvalidEndpoint::Tls)
}

/// Answers what the Store said, or that it broke the contract.
fn mapped<T>(method: &'static str, answer: Result<T, mapping::Unmappable>) -> Result<T, StoreError> {
    answer.map_err(|broken| {
        tracing::error!(method, error = %broken, "the Store's answer can't be used");
        broken.into()
    })
}

#[async_trait]
impl MessageStore for GrpcMessageStore {
    async fn send(&self, call: &CallContext, draft: &Draft) -> Result<Sent, StoreError> {
        let query = mapping::send_request(call, draft);
        let rpc =
            |mut client: MessageStoreClient<Channel>, request| async move { client.send(request).await };
        mapped("Send", mapping::sent(self.call("Send", self.config.send, call, query, rpc).await?))
    }

    async fn read_upto(
        &self,
        call: &CallContext,
        dialog: &DialogId,
        seq: u64,
    ) -> Result<ReadMark, StoreError> {
        let query = mapping::read_upto_request(call, dialog, seq);
        let rpc =
            |mut client: MessageStoreClient<Channel>, request| async move { client.read_upto(request).await };
        Ok(mapping::read_mark(self.call("ReadUpto", self.config.read_upto, call, query, rpc).await?))
    }

    async fn check_membership(
        &self,
        call: &CallContext,
        dialogs: &[DialogId],
    ) -> Result<Vec<Membership>, StoreError> {
        if dialogs.len() > MEMBERSHIP_BATCH_MAX {
            return Err(StoreError::Invalid);
        }
        let query = mapping::membership_request(call, dialogs);
        let rpc = |mut client: MessageStoreClient<Channel>, request| async move {
            client.check_membership(request).await
        };
        let deadline = self.config.check_membership;
        let answer = self.call("CheckMembership", deadline, call, query, rpc).await?;
        mapped("CheckMembership", mapping::memberships(answer))
    }

    async fn history(
        &self,
        call: &CallContext,
        dialog: &DialogId,
        range: HistoryRange,
        limit: u32,
    ) -> Result<HistoryPage, StoreError> {
        let query = mapping::history_request(call, dialog, range, limit);
        let rpc = |mut client: MessageStoreClient<Channel>, request| async move {
            client.get_history(request).await
        };
        let answer = self.call("GetHistory", self.config.list, call, query, rpc).await?;
        mapped("GetHistory", mapping::history_page(answer))
    }

    async fn list_dialogs(
        &self,
        call: &CallContext,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<DialogPage, StoreError> {
        let query = mapping::list_request(call, page_size, page_token);
        let rpc = |mut client: MessageStoreClient<Channel>, request| async move {
            client.list_dialogs(request).await
        };
        let answer = self.call("ListDialogs", self.config.list, call, query, rpc).await?;
        mapped("ListDialogs", mapping::dialog_page(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::{Tick, UnixMillis};

    struct StillClock;

    impl Clock for StillClock {
        fn tick(&self) -> Tick {
            Tick(0)
        }

        fn unix(&self) -> UnixMillis {
            UnixMillis(0)
        }
    }

    #[tokio::test]
    async fn only_http_urls_with_a_host_are_endpoints() {
        for bad in ["", "store:50051", "/store", "unix:///tmp/store", "redis://store:1"] {
            let outcome = GrpcMessageStore::connect_lazy(Config::new(bad), Arc::new(StillClock));
            assert!(matches!(outcome, Err(InvalidEndpoint::Url)), "{bad}");
        }
        let none = Config { endpoints: vec![], ..Config::new("") };
        let outcome = GrpcMessageStore::connect_lazy(none, Arc::new(StillClock));
        assert!(matches!(outcome, Err(InvalidEndpoint::Missing)));
        for good in ["http://store:50051", "http://[::1]:1", "https://store"] {
            assert!(
                GrpcMessageStore::connect_lazy(Config::new(good), Arc::new(StillClock)).is_ok(),
                "{good}"
            );
        }
    }
}
