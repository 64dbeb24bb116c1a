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
use edgeway::domain::event::{Event, EventKind, Logged, NodeWord};
use edgeway::domain::ids::{DialogId, FeedKey, UserId};
use edgeway::session::cursor::Cursor;
use edgeway::session::outbox::{Outbox, OutboxLimits};
use tokio_util::task::TaskTracker;

use hot_path::{Follower, MESSAGE, SEND, START, feed_key};

#[path = "../tests/support/hot_path.rs"]
mod hot_path;

const FOLLOWERS: [usize; 3] = [10, 1_000, 10_000];
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
            outbox.push(&event, START);
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
            out.extend_from_slice(black_box(cursor).text().as_bytes());
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
            write_prefix(Some(&black_box(cursor).text()), &mut out);
            black_box((out.len(), event.body.clone()))
        });
    });
    group.bench_function("read a command", |b| b.iter(|| parse_frame(black_box(SEND.as_bytes()))));
    group.finish();
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
