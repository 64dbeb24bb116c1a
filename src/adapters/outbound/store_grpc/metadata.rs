//! What travels beside every call: who asks, and how to find the call again in the logs of both sides.

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use uuid::Uuid;

use crate::application::ports::store::CallContext;
use crate::application::trace::{RequestContext, TraceContext};

/// The metadata of one call: the same for all its attempts.
pub(super) struct CallMetadata {
    request_id: String,
    entries: Vec<(&'static str, MetadataValue<Ascii>)>,
}

impl CallMetadata {
    /// Of the client's request and trace, if it named them. `own` is this call's place in a trace that is recorded here.
    pub(super) fn new(call: &CallContext, own: Option<TraceContext>) -> Self {
        let request = RequestContext::current().unwrap_or_default();
        let request_id = match request.request_id {
            Some(id) => String::from(&*id),
            None => Uuid::now_v7().to_string(),
        };
        let client = request.trace;
        let trace = own.or_else(|| client.map(TraceContext::child)).unwrap_or_else(fresh_trace);
        let mut entries = Vec::with_capacity(4);
        let mut put = |name, value: &str| {
            // All of them are ASCII by construction; if that ever broke, a call without them is better than none.
            if let Ok(value) = MetadataValue::try_from(value) {
                entries.push((name, value));
            }
        };
        put("traceparent", &trace.to_string());
        // It says nothing of another trace.
        let state = request.state.filter(|_| client.is_some_and(|client| client.trace == trace.trace));
        if let Some(state) = state {
            put("tracestate", state.as_str());
        }
        put("x-request-id", &request_id);
        if let Some(session) = &call.session_id {
            put("x-session-id", session.as_str());
        }
        Self { request_id, entries }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(super) fn attach<T>(&self, request: &mut Request<T>) {
        for (name, value) in &self.entries {
            request.metadata_mut().insert(*name, value.clone());
        }
    }
}

/// A new trace, not sampled (W3C Trace Context §3.2.2).
fn fresh_trace() -> TraceContext {
    // No id may be 0: a version 7 UUID has its version bits.
    TraceContext { trace: Uuid::now_v7().as_u128(), span: 1, flags: 0 }.child()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{SessionId, UserId};

    fn call(session: Option<&str>) -> CallContext {
        CallContext {
            user_id: UserId::parse("alice").unwrap(),
            session_id: session.map(|id| SessionId::parse(id).unwrap()),
        }
    }

    #[test]
    fn a_call_carries_its_trace_its_id_and_its_session() {
        let mut request = Request::new(());
        CallMetadata::new(&call(Some("s1")), None).attach(&mut request);
        let value = |name| request.metadata().get(name).unwrap().to_str().unwrap();
        assert_eq!(value("x-session-id"), "s1");
        assert_eq!(Uuid::parse_str(value("x-request-id")).unwrap().get_version_num(), 7);
        let parts: Vec<_> = value("traceparent").split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert!(parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    #[tokio::test]
    async fn a_call_belongs_to_the_trace_and_the_request_of_its_client() {
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = RequestContext::read(Some(traceparent), ["a=1", "b=2"], Some("req-1")).unwrap();
        let mut request = Request::new(());
        context.clone().scope(async { CallMetadata::new(&call(None), None).attach(&mut request) }).await;
        let value = |name| request.metadata().get(name).unwrap().to_str().unwrap();
        assert_eq!(value("x-request-id"), "req-1");
        assert!(value("traceparent").starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert!(value("traceparent").ends_with("-01"));
        assert_ne!(value("traceparent"), traceparent, "a span of its own");
        assert_eq!(value("tracestate"), "a=1,b=2");

        let another = fresh_trace();
        let mut request = Request::new(());
        context.scope(async { CallMetadata::new(&call(None), Some(another)).attach(&mut request) }).await;
        assert!(request.metadata().get("tracestate").is_none(), "it is of the client's trace");
    }

    #[test]
    fn a_call_without_a_session_names_none() {
        let mut request = Request::new(());
        CallMetadata::new(&call(None), None).attach(&mut request);
        assert!(request.metadata().get("x-session-id").is_none());
    }
}
