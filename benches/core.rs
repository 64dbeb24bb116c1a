//! The core's own costs, without sockets: `make bench`. What the figures mean is in `docs/performance.md`.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use edgeway::adapters::inbound::wire::commands::parse_frame;
use edgeway::adapters::inbound::wire::events::{JsonCodec, PREFIX_MAX_BYTES, write_prefix};
use edgeway::adapters::outbound::memory::bus::{self, MemoryBus};
use edgeway::application::feed::context::{Caretaker, FeedContext};
use edgeway::application::feed::one::Feed;
use edgeway::application::ports::bus::{EventLog, LogEntry};
use edgeway::application::ports::clock::ManualClock;
use edgeway::application::ports::codec::EventCodec;
use edgeway::application::ports::telemetry::occurrence::{Occurrence, Telemetry};
use edgeway::application::sessions::live::LiveSession;
use edgeway::domain::event::{Event, EventKind, LogPosition, Logged, NodeWord};
use edgeway::domain::ids::{DialogId, FeedKey, SessionId, UserId};
use edgeway::domain::time::{Tick, UnixMillis};
use edgeway::session::cursor::Cursor;
use edgeway::session::intake::CaughtUp;
use edgeway::session::machine::{Config, Session};
use edgeway::session::outbox::{Outbox, OutboxLimits};
use edgeway::session::reader::{AttachRequest, DrainBudget, ReaderId, Transport};
use edgeway::session::snapshot::SubscribeOptions;
use edgeway::session::subscriptions::Confirmed;
use tokio_util::task::TaskTracker;

const START: UnixMillis = UnixMillis(1_800_000_000_000);
const FOLLOWERS: [usize; 3] = [10, 1_000, 10_000];
const BUDGET: DrainBudget = DrainBudget { events: 64, bytes: 64 * 1024 };
/// A message of about 300 bytes, as it lies in a log.
const MESSAGE: &str = concat!(
    r#"{"type":"message_new","dialog_id":"d1","message":{"message_id":"0198a7c2-6a1e-7c3b-9d54-0f2b6f1c7e10","#,
    r#""dialog_id":"d1","seq":4711,"sender_id":"alice","client_message_id":"c-0198a7c26a1e","#,
    r#""body":{"text":"Shall we meet at the usual place at seven? I'll bring the maps."},"#,
    r#""created_at":"2027-01-15T08:00:00.000Z"}}"#
);
const SEND: &str = concat!(
    r#"{"type":"send_message","ref":"17","dialog_id":"d1","client_message_id":"c-0198a7c26a1e","#,
    r#""body":{"text":"Shall we meet at the usual place at seven? I'll bring the maps."}}"#
);

fn feed_key() -> FeedKey {
    FeedKey::Dialog(DialogId::parse("d1").expect("an id"))
}

fn entry(offset: u64) -> LogEntry {
    LogEntry { epoch: "e".into(), offset, at: START, json: Bytes::from_static(MESSAGE.as_bytes()) }
}

fn event(feed: &FeedKey, offset: u64) -> Arc<Event> {
    Arc::new(JsonCodec.decode_logged(feed, &entry(offset)).expect("a message"))
}

fn outbox(c: &mut Criterion) {
    let sender = UserId::parse("alice").expect("an id");
    let event = Arc::new(Event {
        feed: feed_key(),
        logged: Some(Logged { epoch: "e".into(), offset: 1, at: START }),
        kind: EventKind::Message { sender, seq: 1, created_at: None },
        body: Bytes::from_static(MESSAGE.as_bytes()),
    });
    let limits = OutboxLimits { events: 512, bytes: 256 * 1024 };
    let mut outbox = Outbox::new(limits, 0, START);
    c.bench_function("outbox: push, send, acknowledge", |b| {
        b.iter(|| {
            outbox.push(event.clone(), START);
            let last = outbox.last();
            for entry in outbox.after(last - 1) {
                black_box(entry);
            }
            outbox.mark_sent(last);
            outbox.acknowledge(last, |event| {
                black_box(event);
            });
        });
    });

    let mut next = 0;
    let follower = Follower::new(0, &feed_key(), "e");
    c.bench_function("session: push, drain, acknowledge", |b| {
        b.iter_batched(
            || {
                next += 1;
                self::event(&feed_key(), next)
            },
            |event| {
                follower.session.with(|machine| machine.push(&event, START));
                follower.read();
            },
            BatchSize::SmallInput,
        );
    });
}

fn cursor(c: &mut Criterion) {
    let cursor = Cursor { epoch: 1_234_567_890, number: 4711, watermark: START };
    let text = cursor.to_string();
    let mut out = Vec::with_capacity(PREFIX_MAX_BYTES);
    c.bench_function("cursor: write", |b| {
        b.iter(|| {
            out.clear();
            black_box(cursor).write_to(&mut out);
            black_box(out.len())
        });
    });
    c.bench_function("cursor: read", |b| b.iter(|| black_box(text.as_str()).parse::<Cursor>()));
}

fn wire(c: &mut Criterion) {
    let (feed, entry) = (feed_key(), entry(4711));
    let event = event(&feed, 4711);
    let cursor = Cursor { epoch: 1_234_567_890, number: 4711, watermark: START };
    let mut group = c.benchmark_group("wire");
    group.bench_function("decode an event of the log, once per node", |b| {
        b.iter(|| JsonCodec.decode_logged(black_box(&feed), black_box(&entry)));
    });
    group.bench_function("write its prefix, once per delivery", |b| {
        let mut out = Vec::with_capacity(PREFIX_MAX_BYTES);
        b.iter(|| {
            out.clear();
            write_prefix(Some(black_box(&cursor)), &mut out);
            black_box((out.len(), event.body.clone()))
        });
    });
    group.bench_function("read a command", |b| b.iter(|| parse_frame(black_box(SEND.as_bytes()))));
    group.finish();
}

/// A session that is in step with the feed and is being read.
struct Follower {
    session: Arc<LiveSession>,
    reader: ReaderId,
}

impl Follower {
    fn new(number: usize, feed: &FeedKey, epoch: &str) -> Self {
        let mut machine = Session::new(
            Arc::new(Config::default()),
            SessionId::parse(&format!("s{number}")).expect("an id"),
            UserId::parse(&format!("u{number}")).expect("an id"),
            None,
            1,
            Tick(0),
            START,
        );
        let options = SubscribeOptions { presence: false, typing: true };
        let position = LogPosition { epoch: epoch.into(), offset: 0 };
        let confirmed = Confirmed { feed: position.clone(), own: None, at: START };
        machine.subscribe(feed, options, position.clone(), confirmed, 0).expect("the first one");
        let asked = machine.catch_up(feed).expect("behind until told otherwise");
        let nothing_missed = CaughtUp {
            asked,
            start: position.clone(),
            gap: Vec::new(),
            events: Vec::new(),
            reached: position,
            complete: true,
        };
        machine.apply(nothing_missed, START);
        let request = AttachRequest {
            cursor: None,
            attach: None,
            transport: Transport::WebSocket,
            token_expires_at: UnixMillis(u64::MAX),
        };
        let attached = machine.attach(&request, START).expect("nobody else reads");
        Self { session: LiveSession::new(machine), reader: attached.reader }
    }

    /// Takes what is there, and says that it has it.
    fn read(&self) {
        let mut out = Vec::new();
        self.session.with(|machine| {
            machine.drain(self.reader, BUDGET, &mut out);
            if let Some(cursor) = machine.reader_cursor(self.reader) {
                machine.acknowledge(cursor).expect("its own cursor");
            }
        });
    }
}

fn deliver(c: &mut Criterion) {
    let feed = feed_key();
    let mut group = c.benchmark_group("deliver one event to sessions");
    for count in FOLLOWERS {
        let followers: Vec<Follower> = (0..count).map(|n| Follower::new(n, &feed, "e")).collect();
        let mut next = 0;
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter_batched(
                || {
                    followers.iter().for_each(Follower::read);
                    next += 1;
                    event(&feed, next)
                },
                |event| {
                    for follower in &followers {
                        black_box(follower.session.deliver(&event, START));
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

struct Nobody;

impl Caretaker for Nobody {
    fn attend(&self, _: &Arc<LiveSession>) {}
    fn membership_changed(&self, _: &UserId, _: &DialogId) {}
    fn words_missed(&self, _: &Arc<LiveSession>) {}
    fn node_said(&self, _: &FeedKey, _: &NodeWord) {}
}

impl Telemetry for Nobody {
    fn record(&self, _: Occurrence) {}
}

/// From the append to the last session's queue: log, live channel, decoding, order, fan-out.
fn feed(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut group = c.benchmark_group("append one event to a followed log");
    for count in FOLLOWERS {
        let key = feed_key();
        let bus = Arc::new(MemoryBus::new(bus::Config::default(), Arc::new(ManualClock::at(START))));
        let context = FeedContext::new(
            bus.clone(),
            Arc::new(JsonCodec),
            Arc::new(Nobody),
            Arc::new(Nobody),
            TaskTracker::new(),
        );
        let feed = Feed::new(key.clone(), Arc::new(context));
        runtime.block_on(feed.connect()).expect("the bus is in this process");
        let epoch = feed.position().expect("it is connected").epoch;
        let followers: Vec<Follower> = (0..count).map(|n| Follower::new(n, &key, &epoch)).collect();
        for follower in &followers {
            feed.join(follower.session.clone()).expect("it is open");
        }
        let last = &followers[count - 1].session;
        let mut next = 0u64;
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter_batched(
                || {
                    followers.iter().for_each(Follower::read);
                    next += 1;
                    format!("m:{next}")
                },
                |event_key| {
                    runtime.block_on(async {
                        let json = Bytes::from_static(MESSAGE.as_bytes());
                        bus.append(&key, &event_key, json).await.expect("the bus is in this process");
                        while last.peek(|machine| machine.outbox().unread()) == 0 {
                            tokio::task::yield_now().await;
                        }
                    });
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for measure in [outbox, cursor, wire, deliver, feed] {
        measure(&mut criterion);
    }
    criterion.final_summary();
}
