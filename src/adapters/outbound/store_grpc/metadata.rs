//! What travels beside every call: who asks, and how to find the call again in the logs of both sides.

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use uuid::Uuid;

use crate::application::ports::store::CallContext;

/// The metadata of one call: the same for all its attempts.
pub(super) struct CallMetadata {
    request_id: String,
    entries: Vec<(&'static str, MetadataValue<Ascii>)>,
}

impl CallMetadata {
    pub(super) fn new(call: &CallContext) -> Self {
        let request_id = Uuid::now_v7().to_string();
        let mut entries = Vec::with_capacity(3);
        let mut put = |name, value: &str| {
            // All three are ASCII by construction; if that ever broke, a call without them is better than none.
            if let Ok(value) = MetadataValue::try_from(value) {
                entries.push((name, value));
            }
        };
        put("traceparent", &fresh_traceparent());
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
fn fresh_traceparent() -> String {
    // Neither id may be all zeros; a version 7 UUID has its version bits, and the lowest bit is set in the span.
    let trace = Uuid::now_v7().as_u128();
    let span = getrandom::u64().unwrap_or_default() | 1;
    format!("00-{trace:032x}-{span:016x}-00")
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
        CallMetadata::new(&call(Some("s1"))).attach(&mut request);
        let value = |name| request.metadata().get(name).unwrap().to_str().unwrap();
        assert_eq!(value("x-session-id"), "s1");
        assert_eq!(Uuid::parse_str(value("x-request-id")).unwrap().get_version_num(), 7);
        let parts: Vec<_> = value("traceparent").split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert!(parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    #[test]
    fn a_call_without_a_session_names_none() {
        let mut request = Request::new(());
        CallMetadata::new(&call(None)).attach(&mut request);
        assert!(request.metadata().get("x-session-id").is_none());
    }
}
