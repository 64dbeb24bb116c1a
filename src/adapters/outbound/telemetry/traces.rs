//! Traces, sent to a collector by OTLP (gRPC).
//!
//! A client's `sampled` flag is a wish, not an order: whoever reaches a public edge could have everything recorded. As
//! many traces begin in a second as there is room for; their spans go through a bounded queue, and what finds it full is
//! dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider,
    ShouldSample,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::adapters::outbound::crypto;
use crate::application::ports::clock::Clock;
use crate::application::trace::TraceContext;

/// Traces that begin in one second; of the others only the ids are handed on.
pub const TRACES_PER_SECOND_MAX: u64 = 100;
/// Spans that wait to be sent; more are dropped.
pub const SPANS_QUEUED_MAX: usize = 4096;
/// Spans sent at once.
const SPANS_BATCH_MAX: usize = 512;
/// How often they are sent.
const SEND_EVERY: Duration = Duration::from_secs(2);
/// How long the collector may take to answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last spans may take on the way out.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The way to a collector.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Begins to send to this endpoint: `http://host:port`, or `https` with the system's authorities. That nobody answers
    /// there is no error. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the endpoint can't be one.
    pub fn start(endpoint: &str, clock: Arc<dyn Clock>) -> Result<Self, ExporterBuildError> {
        let mut exporter =
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT);
        if endpoint.starts_with("https:") {
            crypto::install_default_provider();
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_native_roots());
        }
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(SPANS_QUEUED_MAX)
            .with_max_export_batch_size(SPANS_BATCH_MAX)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter.build()?).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(PerSecond { clock, begun: Arc::default() })
            .with_resource(
                Resource::builder()
                    .with_service_name("edgeway")
                    .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
                    .build(),
            )
            .build();
        Ok(Self { provider })
    }

    /// What spans are made with.
    #[must_use]
    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer("edgeway")
    }

    /// Sends what still waits, and ends. Blocks for some seconds at most.
    pub fn end(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::debug!(%error, "not all traces were sent");
        }
    }
}

/// Makes a span, and what is below it, a part of a client's trace.
pub(super) fn adopt(span: &Span, trace: TraceContext) {
    let remote = SpanContext::new(
        TraceId::from_bytes(trace.trace.to_be_bytes()),
        SpanId::from_bytes(trace.span.to_be_bytes()),
        TraceFlags::new(trace.flags & 1),
        true,
        TraceState::default(),
    );
    // Where no traces are sent there is nothing to be part of.
    let _ = span.set_parent(Context::new().with_remote_span_context(remote));
}

/// Where a span stands in its trace; `None` where no traces are sent.
#[must_use]
pub fn context_of(span: &Span) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| TraceContext {
        trace: u128::from_be_bytes(context.trace_id().to_bytes()),
        span: u64::from_be_bytes(context.span_id().to_bytes()),
        flags: context.trace_flags().to_u8(),
    })
}

/// Lets so many traces begin in a second, whoever asks for them. One that its client doesn't record is not recorded here.
#[derive(Clone)]
struct PerSecond {
    clock: Arc<dyn Clock>,
    /// The second in the upper half, how many have begun in it in the lower.
    begun: Arc<AtomicU64>,
}

impl std::fmt::Debug for PerSecond {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PerSecond")
    }
}

impl PerSecond {
    fn has_room(&self) -> bool {
        let second = self.clock.tick().0 / 1000;
        let count = |known: u64| {
            let begun = if known >> 32 == second { known & u64::from(u32::MAX) } else { 0 };
            (begun < TRACES_PER_SECOND_MAX).then(|| (second << 32) | (begun + 1))
        };
        self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }
}

impl ShouldSample for PerSecond {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent = parent.filter(|context| context.has_active_span());
        let parent = parent.map(|context| context.span().span_context().clone());
        let sampled = match &parent {
            Some(context) if !context.is_sampled() => false,
            Some(context) if !context.is_remote() => true,
            _ => self.has_room(),
        };
        SamplingResult {
            decision: if sampled { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: Vec::new(),
            trace_state: parent.map(|context| context.trace_state().clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::{Tick, UnixMillis};

    struct At(AtomicU64);

    impl Clock for At {
        fn tick(&self) -> Tick {
            Tick(self.0.load(Ordering::Relaxed))
        }

        fn unix(&self) -> UnixMillis {
            UnixMillis(0)
        }
    }

    #[test]
    fn so_many_traces_begin_in_a_second_and_no_more() {
        let clock = Arc::new(At(AtomicU64::new(5_500)));
        let sampler = PerSecond { clock: clock.clone(), begun: Arc::default() };
        let begin = |tries: u64| (0..tries).filter(|_| sampler.has_room()).count() as u64;
        assert_eq!(begin(3 * TRACES_PER_SECOND_MAX), TRACES_PER_SECOND_MAX);
        clock.0.store(6_000, Ordering::Relaxed);
        assert_eq!(begin(3 * TRACES_PER_SECOND_MAX), TRACES_PER_SECOND_MAX);
    }

    #[test]
    fn a_client_that_does_not_record_its_trace_is_not_recorded() {
        let sampler = PerSecond { clock: Arc::new(At(AtomicU64::new(0))), begun: Arc::default() };
        let decide = |flags| {
            let span = SpanContext::new(
                TraceId::from_bytes([1; 16]),
                SpanId::from_bytes([1; 8]),
                TraceFlags::new(flags),
                true,
                TraceState::default(),
            );
            let parent = Context::new().with_remote_span_context(span);
            sampler.should_sample(Some(&parent), TraceId::INVALID, "", &SpanKind::Server, &[], &[]).decision
        };
        assert_eq!((decide(0), decide(1)), (SamplingDecision::Drop, SamplingDecision::RecordAndSample));
    }
}
