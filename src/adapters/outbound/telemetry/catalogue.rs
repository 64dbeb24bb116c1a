//! Every metric of a node: its name, what it says, and the values that its labels can have.
//!
//! `docs/operations.md` has the same list for people; a test compares the two.

use crate::application::ports::codec::Undecodable;
use crate::application::ports::telemetry::labels::{
    CommandType, FetchOutcome, Label, Limit, RepairReason, SessionState, StoreCode, StoreMethod,
};
use crate::domain::error::ErrorCode;
use crate::session::reader::{Resume, Transport};
use crate::session::replay::GapReason;

/// How a metric's value behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls; asked for when it is scraped.
    Gauge,
    /// Counts durations by size, in seconds.
    Histogram,
}

impl Kind {
    /// Its name in Prometheus's text format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label of a metric, with all values that it can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet {
    /// The label's name.
    pub name: &'static str,
    /// The values by their numbers.
    pub values: Vec<&'static str>,
}

impl LabelSet {
    fn of<L: Label>(name: &'static str) -> Self {
        Self { name, values: names::<L>().collect() }
    }

    /// The same with one more value in front.
    fn of_or<L: Label>(name: &'static str, first: &'static str) -> Self {
        Self { name, values: std::iter::once(first).chain(names::<L>()).collect() }
    }
}

fn names<L: Label>() -> impl Iterator<Item = &'static str> {
    L::ALL.iter().map(|value| value.name())
}

macro_rules! metrics {
    ($($(#[$about:meta])* $metric:ident: $kind:ident $name:literal, $help:literal;)+) => {
        /// A metric of the node.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Metric { $(#[doc = $help] $metric,)+ }

        impl Metric {
            /// All metrics, in the order in which they are told.
            pub const ALL: &'static [Self] = &[$(Self::$metric,)+];

            /// Its full name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$metric => concat!("edgeway_", $name),)+ }
            }

            /// What it says, in words.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$metric => $help,)+ }
            }

            /// How its value behaves.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $(Self::$metric => Kind::$kind,)+ }
            }
        }
    };
}

metrics! {
    BuildInfo: Gauge "build_info", "1, with the version of the program";
    Draining: Gauge "draining", "1 while the node is going away";
    Connections: Gauge "connections", "Clients that are connected, by transport; a client that polls is, while its poll waits";
    Sockets: Gauge "sockets", "Connections of the public listener, whatever is spoken on them";
    SocketsMax: Gauge "sockets_max", "How many of these there may be, limits.connections: over it nothing is accepted";
    Sessions: Gauge "sessions", "Sessions that the node keeps, by whether somebody reads them";
    Attaches: Counter "attaches_total", "Attaches, by how they went: new, resumed, rebuilt, expired, or the code they were refused with";
    Resumes: Counter "resumes_total", "Attaches that named a session, by how it went on";
    Commands: Counter "commands_total", "Commands, by type and code; ok if they were carried out";
    Deliveries: Counter "deliveries_total", "Events handed to a connection";
    SentBytes: Counter "sent_bytes_total", "Bytes of the events handed to a connection, without what wraps them";
    ReceivedBytes: Counter "received_bytes_total", "Bytes of the frames and bodies that clients sent commands in";
    DeliveryLatency: Histogram "delivery_latency_seconds", "From an event's entry in its log to the connection, for events that came while it was there";
    CommitLatency: Histogram "commit_to_socket_seconds", "From a message's commit, by the Store's clock, to the connection, as above";
    QueueEvents: Gauge "queue_events", "Events in the queues of all sessions, acknowledged ones not among them";
    QueueBytes: Gauge "queue_bytes", "Bytes of the events in the queues; a body that several sessions share counts in each";
    QueueOldestAge: Gauge "queue_oldest_age_seconds", "Age of the oldest event that a connected client has not taken yet";
    Gaps: Counter "gaps_total", "Gaps that sessions were told of";
    Spills: Counter "spills_total", "Backlogs that were given up, to be read again from the log";
    EphemeralsDropped: Counter "ephemerals_dropped_total", "Ephemeral events that were dropped or replaced before they were sent";
    LimitsHit: Counter "limits_hit_total", "How often a limit turned somebody away or made something go";
    StoreCalls: Counter "store_calls_total", "Attempts to call the Store, by method and gRPC status";
    StoreCallTime: Histogram "store_call_seconds", "How long attempts to call the Store took";
    StoreCircuitOpen: Gauge "store_circuit_open", "1 while calls of the Store fail at once, since it did not answer";
    Feeds: Gauge "feeds", "Feeds of dialogs and users that the node follows on the bus";
    BusProbeAge: Gauge "bus_probe_age_seconds", "How long ago something last came back over the worst link to the bus";
    BusLag: Gauge "bus_lag_seconds", "How far what has surely arrived is behind the time of the bus";
    BusRepairs: Counter "bus_repairs_total", "Feeds that read their log again";
    BusPayloadsSkipped: Counter "bus_payloads_skipped_total", "Payloads of the bus that could not be read";
    LifecycleDropped: Counter "lifecycle_dropped_total", "Entries of the lifecycle stream that were dropped, since too many waited for the bus";
    JwksFetches: Counter "jwks_fetches_total", "Fetches of the key set";
    JwksKeys: Gauge "jwks_keys", "Keys that tokens can be verified with; 0 when they are too old, too";
    JwksAge: Gauge "jwks_age_seconds", "How long ago the key set was last fetched";
    Tasks: Gauge "tasks", "Tasks of the program that have begun and not ended";
}

impl Metric {
    /// Its labels. A series exists for every combination of their values from the start.
    #[must_use]
    pub fn labels(self) -> Vec<LabelSet> {
        let transport = || LabelSet::of::<Transport>("transport");
        match self {
            Self::BuildInfo => vec![LabelSet { name: "version", values: vec![env!("CARGO_PKG_VERSION")] }],
            Self::Connections | Self::Deliveries | Self::SentBytes => vec![transport()],
            Self::Sessions => vec![LabelSet::of::<SessionState>("state")],
            Self::Attaches => {
                vec![transport(), LabelSet { name: "outcome", values: attach_outcomes().collect() }]
            }
            Self::Resumes => vec![LabelSet::of::<Resume>("outcome")],
            Self::Commands => {
                vec![LabelSet::of::<CommandType>("type"), LabelSet::of_or::<ErrorCode>("code", "ok")]
            }
            Self::Gaps => vec![LabelSet::of::<GapReason>("reason")],
            Self::LimitsHit => vec![LabelSet::of::<Limit>("limit")],
            Self::StoreCalls => {
                vec![LabelSet::of::<StoreMethod>("method"), LabelSet::of::<StoreCode>("code")]
            }
            Self::StoreCallTime => vec![LabelSet::of::<StoreMethod>("method")],
            Self::BusRepairs => vec![LabelSet::of::<RepairReason>("reason")],
            Self::BusPayloadsSkipped => vec![LabelSet::of::<Undecodable>("kind")],
            Self::JwksFetches => vec![LabelSet::of::<FetchOutcome>("outcome")],
            Self::Draining
            | Self::Sockets
            | Self::SocketsMax
            | Self::ReceivedBytes
            | Self::DeliveryLatency
            | Self::CommitLatency
            | Self::QueueEvents
            | Self::QueueBytes
            | Self::QueueOldestAge
            | Self::Spills
            | Self::EphemeralsDropped
            | Self::StoreCircuitOpen
            | Self::Feeds
            | Self::BusProbeAge
            | Self::BusLag
            | Self::LifecycleDropped
            | Self::JwksKeys
            | Self::JwksAge
            | Self::Tasks => Vec::new(),
        }
    }

    /// The upper bounds of a histogram's buckets, in microseconds; the one without a bound is not among them.
    #[must_use]
    pub fn bounds_micros(self) -> &'static [u64] {
        match self.kind() {
            Kind::Histogram => &BOUNDS_MICROS,
            Kind::Counter | Kind::Gauge => &[],
        }
    }
}

/// From well under the goal for a delivery to the longest deadline of a call.
const BOUNDS_MICROS: [u64; 12] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];

/// How an attach can go: on, or refused with a code.
fn attach_outcomes() -> impl Iterator<Item = &'static str> {
    names::<Resume>().chain(names::<ErrorCode>())
}
