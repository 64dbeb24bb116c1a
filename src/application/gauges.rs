//! How things stand on this node, for whoever asks.

use super::gateway::Gateway;
use super::ports::telemetry::labels::SessionState;
use super::ports::telemetry::measure::{Gauges, Measure};
use crate::session::reader::Transport;

impl Gauges for Gateway {
    fn measure(&self, note: &mut dyn FnMut(Measure, f64)) {
        let now = self.ports.bus.time();
        let census = self.sessions.census();
        let (ws, sse, poll) = (census.ws, census.sse, census.poll);
        note(Measure::Connections(Transport::WebSocket), ws as f64);
        note(Measure::Connections(Transport::Sse), sse as f64);
        note(Measure::Connections(Transport::Poll), poll as f64);
        note(Measure::Sessions(SessionState::Attached), (ws + sse + poll) as f64);
        note(Measure::Sessions(SessionState::Detached), census.detached as f64);
        note(Measure::QueueEvents, census.queued_events as f64);
        note(Measure::QueueBytes, census.queued_bytes as f64);
        let oldest = census.oldest_waiting.map_or(0.0, |at| now.since(at).as_secs_f64());
        note(Measure::QueueOldestAge, oldest);
        note(Measure::Feeds, self.feeds.count() as f64);
        note(Measure::BusLag, now.since(self.ports.bus.settled()).as_secs_f64());
    }
}
