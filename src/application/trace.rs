//! Which of a client's requests something is done for: W3C Trace Context and request id, carried along by the task.
//!
//! A task-local, so that neither use-cases nor ports have to hand it down. What is done in other tasks (feeds, care of a
//! session) belongs to no request.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::task::futures::TaskLocalFuture;

use super::trace_state::TraceState;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// Longest request id that is taken from a client, in bytes.
pub const REQUEST_ID_MAX_BYTES: usize = 128;

/// Where a trace stands: `traceparent` (W3C Trace Context §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Names the whole trace; not 0.
    pub trace: u128,
    /// Names the span that what follows belongs to; not 0.
    pub span: u64,
    /// The lowest bit: it is being recorded.
    pub flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent`. Of a later version than 00 it takes what it knows (§3.2.2.1).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (version, rest) = (text.get(..3)?, text.get(3..55)?);
        let version = hex(version.strip_suffix('-')?).filter(|version| *version != 0xff)?;
        let more = text.get(55..)?;
        if !more.is_empty() && (version == 0 || !more.starts_with('-')) {
            return None;
        }
        let mut parts = rest.split('-');
        let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
        if (trace.len(), span.len(), flags.len()) != (32, 16, 2) || parts.next().is_some() {
            return None;
        }
        let (trace, span) = (hex(trace)?, u64::try_from(hex(span)?).ok()?);
        let flags = u8::try_from(hex(flags)?).ok()?;
        (trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// A span of the same trace, with a name of its own.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: getrandom::u64().unwrap_or_default() | 1, ..self }
    }

    /// Whether whoever began it records it.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

/// As it stands in a header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags & 1)
    }
}

/// Lower case alone, as the standard has it.
fn hex(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits { u128::from_str_radix(text, 16).ok() } else { None }
}

/// What a client says of its request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestContext {
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
    /// What goes with the trace; not without one.
    pub state: Option<TraceState>,
    /// How the client calls it.
    pub request_id: Option<Arc<str>>,
}

impl RequestContext {
    /// From the headers' texts; what is malformed counts as not there. `None` if nothing is left.
    #[must_use]
    pub fn read<'h>(
        traceparent: Option<&str>,
        tracestate: impl IntoIterator<Item = &'h str>,
        request_id: Option<&str>,
    ) -> Option<Self> {
        let sound = |id: &&str| {
            (1..=REQUEST_ID_MAX_BYTES).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(&byte))
        };
        let trace = traceparent.and_then(TraceContext::parse);
        // §3.3: of a trace that is not there, no state is worth anything.
        let state = trace.and_then(|_| TraceState::read(tracestate));
        let request_id = request_id.filter(sound).map(Arc::from);
        (trace.is_some() || request_id.is_some()).then_some(Self { trace, state, request_id })
    }

    /// That of the request for which the current task works.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Does something for this request.
    pub fn scope<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written_as_the_standard_has_it() {
        let context = TraceContext::parse(TRACEPARENT).unwrap();
        assert_eq!(
            (context.trace >> 112, context.span, context.is_sampled()),
            (0x4bf9, 0x00f0_67aa_0ba9_02b7, true)
        );
        assert_eq!(context.to_string(), TRACEPARENT);
        let child = context.child();
        assert_eq!((child.trace, child.flags), (context.trace, context.flags));
        assert_ne!(child.span, context.span);
        let later = TRACEPARENT.replacen("00", "cc", 1) + "-what-the-future-brings";
        assert_eq!(TraceContext::parse(&later), Some(context));
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "é0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_request_id_that_could_break_a_log_or_a_header_is_not_taken() {
        let read = |id| RequestContext::read(None, [], Some(id));
        assert_eq!(read("req-1").unwrap().request_id.as_deref(), Some("req-1"));
        for id in ["", "a b", "a\nb", "\"", &"a".repeat(129)] {
            assert_eq!(read(id), None, "{id:?}");
        }
        assert!(RequestContext::read(Some(TRACEPARENT), [], Some("a b")).unwrap().request_id.is_none());
    }

    #[test]
    fn a_state_goes_with_a_trace_and_never_without_one() {
        let state =
            |traceparent, state| RequestContext::read(traceparent, [state], Some("req-1")).unwrap().state;
        assert_eq!(state(Some(TRACEPARENT), "a=1").unwrap().as_str(), "a=1");
        assert_eq!(state(Some(TRACEPARENT), "A=1"), None);
        assert_eq!(state(Some("00-garbage"), "a=1"), None);
        assert_eq!(state(None, "a=1"), None);
        assert!(RequestContext::read(Some(TRACEPARENT), ["A=1"], None).unwrap().trace.is_some());
    }

    #[tokio::test]
    async fn a_request_is_known_within_its_task_alone() {
        let context = RequestContext::read(Some(TRACEPARENT), [], None).unwrap();
        assert_eq!(RequestContext::current(), None);
        assert_eq!(context.clone().scope(async { RequestContext::current() }).await, Some(context));
    }
}
