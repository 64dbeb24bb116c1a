//! Prometheus metrics: every name once, in one table, with a fixed set of labels.

use prometheus::{Encoder, IntCounterVec, Opts, Registry, TextEncoder};

use crate::application::ports::telemetry::{Occurrence, Telemetry};

/// A counter's name, its help, and its labels.
struct Counter {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
}

const PAYLOADS_SKIPPED: Counter = Counter {
    name: "edgeway_bus_payloads_skipped_total",
    help: "Payloads of the bus that could not be read, by kind",
    labels: &["kind"],
};
const REPAIRS: Counter = Counter {
    name: "edgeway_bus_repairs_total",
    help: "Feeds that read their log again, by reason",
    labels: &["reason"],
};
const GAPS: Counter = Counter {
    name: "edgeway_gaps_total",
    help: "Gaps that sessions were told of, by reason",
    labels: &["reason"],
};
const SPILLS: Counter = Counter {
    name: "edgeway_spills_total",
    help: "Backlogs that were given up, to be read again from the log",
    labels: &[],
};
const EPHEMERALS_DROPPED: Counter = Counter {
    name: "edgeway_ephemerals_dropped_total",
    help: "Ephemeral events that were dropped or replaced before they were sent",
    labels: &[],
};
const ATTACHES: Counter = Counter {
    name: "edgeway_attaches_total",
    help: "Attaches, by transport and how they went on (or the code they were refused with)",
    labels: &["transport", "outcome"],
};
const RESUMES: Counter = Counter {
    name: "edgeway_resumes_total",
    help: "Attaches that named a session, by how it went on",
    labels: &["outcome"],
};
const COMMANDS: Counter = Counter {
    name: "edgeway_commands_total",
    help: "Commands, by type and code (ok if they were carried out)",
    labels: &["type", "code"],
};
const DELIVERIES: Counter = Counter {
    name: "edgeway_deliveries_total",
    help: "Events handed to a connection, by transport",
    labels: &["transport"],
};

/// The metrics of one node.
pub struct Metrics {
    registry: Registry,
    payloads_skipped: IntCounterVec,
    repairs: IntCounterVec,
    gaps: IntCounterVec,
    spills: IntCounterVec,
    ephemerals_dropped: IntCounterVec,
    attaches: IntCounterVec,
    resumes: IntCounterVec,
    commands: IntCounterVec,
    deliveries: IntCounterVec,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// When two have the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |counter: &Counter| -> Result<IntCounterVec, prometheus::Error> {
            let vec = IntCounterVec::new(Opts::new(counter.name, counter.help), counter.labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        Ok(Self {
            payloads_skipped: counter(&PAYLOADS_SKIPPED)?,
            repairs: counter(&REPAIRS)?,
            gaps: counter(&GAPS)?,
            spills: counter(&SPILLS)?,
            ephemerals_dropped: counter(&EPHEMERALS_DROPPED)?,
            attaches: counter(&ATTACHES)?,
            resumes: counter(&RESUMES)?,
            commands: counter(&COMMANDS)?,
            deliveries: counter(&DELIVERIES)?,
            registry,
        })
    }

    /// Everything in Prometheus's text format 0.0.4.
    ///
    /// # Errors
    /// When a metric can't be written.
    pub fn to_text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl Telemetry for Metrics {
    fn record(&self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::PayloadSkipped(why) => self.payloads_skipped.with_label_values(&[why.as_str()]).inc(),
            Occurrence::Repaired(why) => self.repairs.with_label_values(&[why.as_str()]).inc(),
            Occurrence::GapTold(why) => self.gaps.with_label_values(&[why.as_str()]).inc(),
            Occurrence::Spilled => self.spills.with_label_values::<&str>(&[]).inc(),
            Occurrence::EphemeralDropped => self.ephemerals_dropped.with_label_values::<&str>(&[]).inc(),
            Occurrence::Attached(transport, resume) => {
                self.attaches.with_label_values(&[transport.as_str(), resume.as_str()]).inc();
                self.resumes.with_label_values(&[resume.as_str()]).inc();
            }
            Occurrence::AttachRefused(transport, code) => {
                self.attaches.with_label_values(&[transport.as_str(), code.as_str()]).inc();
            }
            Occurrence::Command(name, code) => {
                let code = code.map_or("ok", |code| code.as_str());
                self.commands.with_label_values(&[name, code]).inc();
            }
            Occurrence::Delivered(transport, events) => {
                self.deliveries.with_label_values(&[transport.as_str()]).inc_by(events);
            }
        }
    }
}
