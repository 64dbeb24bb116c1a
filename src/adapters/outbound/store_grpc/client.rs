//! The gateway's client of the Store.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tracing::Instrument;

use super::breaker::CircuitBreaker;
use super::bulkhead::Bulkhead;
use super::config::{Config, InvalidEndpoint, REPLY_MAX_BYTES};
use super::endpoints::{Endpoints, StoreEndpoint};
use super::mapping;
use super::metadata::CallMetadata;
use super::retry::{Deadline, Retry};
use super::status::{AttemptError, attempt_error};
use crate::adapters::outbound::telemetry::traces::context_of;
use crate::application::ports::clock::Clock;
use crate::application::ports::store::{
    CallContext, DialogPage, HistoryPage, HistoryRange, MEMBERSHIP_BATCH_MAX, MessageStore, ReadMark, Sent,
    StoreError,
};
use crate::application::ports::telemetry::labels::{Label, Limit, StoreCode, StoreMethod};
use crate::application::ports::telemetry::measure::{Gauges, Measure};
use crate::application::ports::telemetry::occurrence::{NoTelemetry, Occurrence, Telemetry};
use crate::domain::dialog::Membership;
use crate::domain::ids::DialogId;
use crate::domain::message::Draft;
use crate::proto::store::v1::message_store_client::MessageStoreClient;

/// With so many methods that fail, the Store counts as down.
const METHODS_DOWN: usize = 2;

/// What calls of one method have for themselves, so that they do the others no harm.
struct Method {
    retry: Retry,
    bulkhead: Bulkhead,
}

/// The message store behind gRPC.
pub struct GrpcMessageStore {
    endpoints: Endpoints,
    /// Of the connection as such: opened by what finds none, and by health.
    link: CircuitBreaker,
    /// Health has been answered at least once.
    answered: AtomicBool,
    methods: Vec<Method>,
    config: Config,
    telemetry: Arc<dyn Telemetry>,
}

impl GrpcMessageStore {
    /// A client that connects at the first call, and again whenever the connection is lost. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] when an endpoint is not a usable URL.
    pub fn connect_lazy(config: Config, clock: Arc<dyn Clock>) -> Result<Self, InvalidEndpoint> {
        let endpoints = config
            .endpoints
            .iter()
            .map(|endpoint| config.transport(endpoint))
            .collect::<Result<Vec<_>, InvalidEndpoint>>()?;
        let endpoints = Endpoints::new(&endpoints, clock.clone()).ok_or(InvalidEndpoint::Missing)?;
        let bounds = &config.bulkhead;
        let methods = StoreMethod::ALL.iter().map(|method| {
            let sends = *method == StoreMethod::Send;
            let at_once = if sends { bounds.sends_at_once } else { bounds.others_at_once };
            Method {
                retry: Retry::new(config.retry.clone(), config.breaker.clone(), clock.clone()),
                bulkhead: Bulkhead::new(at_once, bounds.waiting_max),
            }
        });
        let methods = methods.collect();
        let link = CircuitBreaker::new(config.breaker.clone(), clock);
        let answered = AtomicBool::new(false);
        Ok(Self { endpoints, link, methods, config, answered, telemetry: Arc::new(NoTelemetry) })
    }

    /// The same, with its calls counted.
    #[must_use]
    pub fn counted_by(self, telemetry: Arc<dyn Telemetry>) -> Self {
        Self { telemetry, ..self }
    }

    /// Whether the Store counts as down: calls fail at once, but for one probe now and then. A single method that fails
    /// does not make it so: the others work.
    #[must_use]
    pub fn circuit_open(&self) -> bool {
        let failing = self.methods.iter().filter(|method| method.retry.breaker().fails_fast()).count();
        self.link.is_open() || failing >= METHODS_DOWN
    }

    /// Whether the Store has ever been found to be there, as [`watch_health`](Self::watch_health) sees it.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
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
        let Some(permit) = self.link.admit() else { return };
        let answers = join_all(self.endpoints.iter().map(|endpoint| self.serves(endpoint))).await;
        // What a method makes of its calls is its own circuit's.
        if answers.contains(&true) {
            self.answered.store(true, Ordering::Relaxed);
            permit.succeeded();
        } else {
            permit.failed();
        }
    }

    async fn serves(&self, endpoint: &StoreEndpoint) -> bool {
        let mut client = HealthClient::new(endpoint.channel());
        let ask = client.check(HealthCheckRequest { service: String::new() });
        let serving = match timeout(self.config.health_interval, ask).await {
            Ok(Ok(answer)) => answer.into_inner().status() == ServingStatus::Serving,
            Ok(Err(status)) => {
                !matches!(attempt_error(&status), AttemptError::Unavailable | AttemptError::Timeout)
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
        method: StoreMethod,
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
        let began = Instant::now();
        let Method { retry, bulkhead } = &self.methods[method.number()];
        // Those who wait keep the time of one attempt.
        let Some(_inside) = bulkhead.enter(deadline.total.saturating_sub(deadline.attempt)).await else {
            self.telemetry.record(Occurrence::LimitHit(Limit::StoreCalls));
            tracing::debug!(method = method.as_str(), "too many calls are under way");
            return Err(StoreError::Unavailable);
        };
        let deadline = Deadline { total: deadline.total.saturating_sub(began.elapsed()), ..deadline };
        let span = tracing::debug_span!("store_call", otel.name = method.as_str(), otel.kind = "client");
        let metadata = CallMetadata::new(call, context_of(&span));
        retry
            .run(&self.link, deadline, |limit| {
                let endpoint = self.endpoints.pick();
                let mut request = Request::new(query.clone());
                metadata.attach(&mut request);
                request.set_timeout(limit);
                let client = MessageStoreClient::new(endpoint.channel_for(method))
                    .max_decoding_message_size(REPLY_MAX_BYTES);
                let answer = timeout(limit, rpc(client, request));
                let request_id = metadata.request_id();
                async move {
                    let began = Instant::now();
                    let outcome =
                        answer.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
                    let code = code_of(outcome.as_ref().err());
                    self.telemetry.record(Occurrence::StoreCall { method, code, took: began.elapsed() });
                    outcome.map(Response::into_inner).map_err(|status| {
                        let error = attempt_error(&status);
                        if matches!(error, AttemptError::Unavailable | AttemptError::Timeout) {
                            self.endpoints.failed(endpoint);
                        }
                        report(method, request_id, &status);
                        error
                    })
                }
            })
            .instrument(span)
            .await
    }
}

fn code_of(failed: Option<&Status>) -> StoreCode {
    let code = failed.map_or(Code::Ok, Status::code);
    // The label's values are in the order of gRPC's numbers.
    StoreCode::ALL.get(code as usize).copied().unwrap_or(StoreCode::Unknown)
}

/// Logs what an operator should see. The status's text is the Store's: it is logged, and goes no further.
fn report(method: StoreMethod, request_id: &str, status: &Status) {
    let method = method.as_str();
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

/// Answers what the Store said, or that it broke the contract.
fn mapped<T>(method: StoreMethod, answer: Result<T, mapping::Unmappable>) -> Result<T, StoreError> {
    answer.map_err(|broken| {
        tracing::error!(method = method.as_str(), error = %broken, "the Store's answer can't be used");
        broken.into()
    })
}

impl Gauges for GrpcMessageStore {
    fn measure(&self, note: &mut dyn FnMut(Measure, f64)) {
        note(Measure::StoreCircuitOpen, f64::from(u8::from(self.circuit_open())));
    }
}

#[async_trait]
impl MessageStore for GrpcMessageStore {
    async fn send(&self, call: &CallContext, draft: &Draft) -> Result<Sent, StoreError> {
        let query = mapping::send_request(call, draft);
        let rpc =
            |mut client: MessageStoreClient<Channel>, request| async move { client.send(request).await };
        mapped(
            StoreMethod::Send,
            mapping::sent(self.call(StoreMethod::Send, self.config.send, call, query, rpc).await?),
        )
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
        Ok(mapping::read_mark(
            self.call(StoreMethod::ReadUpto, self.config.read_upto, call, query, rpc).await?,
        ))
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
        let answer = self.call(StoreMethod::CheckMembership, deadline, call, query, rpc).await?;
        mapped(StoreMethod::CheckMembership, mapping::memberships(answer))
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
        let answer = self.call(StoreMethod::GetHistory, self.config.list, call, query, rpc).await?;
        mapped(StoreMethod::GetHistory, mapping::history_page(answer))
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
        let answer = self.call(StoreMethod::ListDialogs, self.config.list, call, query, rpc).await?;
        mapped(StoreMethod::ListDialogs, mapping::dialog_page(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_grpc_has_its_own_name_in_metrics() {
        for code in StoreCode::ALL {
            let status = Status::new(Code::from(i32::try_from(code.number()).unwrap()), "");
            assert_eq!(code_of(Some(&status)), *code);
        }
        assert_eq!(code_of(None), StoreCode::Ok);
        assert_eq!(Code::from(14), Code::Unavailable);
    }
}
