//! The paths, and what they took when that was last looked at.

use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use edgeway::adapters::inbound::websocket::writer::{WRITE_MAX_SLICES, Writer};
use edgeway::adapters::inbound::wire::commands::parse_frame;
use edgeway::adapters::inbound::wire::events::{JsonCodec, PREFIX_MAX_BYTES, write_prefix};
use edgeway::application::ports::bus::LogEntry;
use edgeway::application::ports::codec::EventCodec;
use edgeway::domain::event::{Event, EventKind, Logged};
use edgeway::domain::ids::UserId;
use edgeway::session::cursor::Cursor;
use edgeway::session::outbox::{Outbox, OutboxLimits};

use crate::hot_path::{Follower, MESSAGE, SEND, START, feed_key};

/// A hot path.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// Does it so many rounds.
    pub(crate) run: fn(u64),
    /// How often a round does it.
    pub(crate) each: u64,
    /// What it took.
    pub(crate) instructions: u64,
}

const FOLLOWERS: u64 = 20;

pub(crate) const PATHS: [Path; 7] = [
    Path { name: "outbox: push, hand out, acknowledge", run: outbox, each: 1, instructions: 1_204 },
    Path {
        name: "fan-out: deliver to a session, drain, acknowledge",
        run: fan_out,
        each: FOLLOWERS,
        instructions: 5_460,
    },
    Path { name: "WebSocket: queue a frame, fill slices, written", run: frame, each: 1, instructions: 4_989 },
    Path { name: "wire: decode an event of a log, encode it", run: decode, each: 1, instructions: 75_273 },
    Path { name: "wire: write what goes before a body", run: prefix, each: 1, instructions: 2_471 },
    Path { name: "wire: read a send_message", run: command, each: 1, instructions: 62_597 },
    Path { name: "cursor: read", run: cursor, each: 1, instructions: 4_735 },
];

/// As large as a message can be: whoever copies it is seen.
const BODY_BYTES: usize = 16 * 1024;
fn event(offset: u64, body: &Bytes) -> Arc<Event> {
    Arc::new(Event {
        feed: feed_key(),
        logged: Some(Logged { epoch: "e".into(), offset, at: START }),
        kind: EventKind::Message {
            sender: UserId::parse("alice").expect("an id"),
            seq: offset,
            created_at: None,
        },
        body: body.clone(),
    })
}

fn outbox(rounds: u64) {
    let event = event(1, &Bytes::from(vec![b'x'; BODY_BYTES]));
    let mut outbox = Outbox::new(OutboxLimits { events: 512, bytes: 256 * 1024 }, 0, START);
    for _ in 0..rounds {
        outbox.push(&event, START);
        let last = outbox.last();
        outbox.after(last - 1).for_each(|entry| {
            black_box(entry);
        });
        outbox.mark_sent(last);
        outbox.acknowledge(last, |event| {
            black_box(event);
        });
    }
}

fn fan_out(rounds: u64) {
    let followers: Vec<Follower> =
        (0..FOLLOWERS as usize).map(|number| Follower::new(number, &feed_key(), "e")).collect();
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    for offset in 1..=rounds {
        let event = event(offset, &body);
        for follower in &followers {
            black_box(follower.session.deliver(&event, START));
            follower.read();
        }
    }
}

fn frame(rounds: u64) {
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let mut writer = Writer::default();
    for _ in 0..rounds {
        writer.feed_text(br#"{"cursor":"k1u2l9.1x.mh3rz0pq","#, &body);
        let mut slices = [IoSlice::new(&[]); WRITE_MAX_SLICES];
        let count = writer.fill_slices(&mut slices);
        let written = slices[..count].iter().map(|slice| slice.len()).sum();
        writer.advance(written);
    }
}

fn decode(rounds: u64) {
    let feed = feed_key();
    let entry =
        LogEntry { epoch: "e".into(), offset: 4711, at: START, json: Bytes::from_static(MESSAGE.as_bytes()) };
    for _ in 0..rounds {
        black_box(JsonCodec.decode_logged(black_box(&feed), black_box(&entry)).expect("a message"));
    }
}

fn prefix(rounds: u64) {
    let cursor = Cursor { epoch: 1_234_567_890, number: 4711, watermark: START };
    let mut out = Vec::with_capacity(PREFIX_MAX_BYTES);
    for _ in 0..rounds {
        out.clear();
        write_prefix(Some(&black_box(cursor).text()), &mut out);
        black_box(&out);
    }
}

fn command(rounds: u64) {
    for _ in 0..rounds {
        black_box(parse_frame(black_box(SEND.as_bytes())).said.expect("a command"));
    }
}

fn cursor(rounds: u64) {
    let text = Cursor { epoch: 1_234_567_890, number: 4711, watermark: START }.to_string();
    for _ in 0..rounds {
        black_box(black_box(text.as_str()).parse::<Cursor>().expect("a cursor"));
    }
}
