//! One session that moves between the transports while messages flow.

use std::collections::HashMap;

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::harness::attach::Attach;
use crate::harness::check;
use crate::harness::client::{Client, numbered, text_of};
use crate::harness::names::unique;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

once! {
    a_session_that_moves_sees_each_of_a_thousand_messages_once_and_in_order,
    a_session_that_moves_without_numbers_sees_each_message_once_and_in_order,
    a_session_can_be_cut_at_every_message,
}

/// Small and good enough to choose cut points; the seed is told when a test fails.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = match std::env::var("EDGEWAY_TEST_SEED") {
            Ok(seed) => seed.parse().expect("EDGEWAY_TEST_SEED is a whole number"),
            Err(_) => u64::from(getrandom::u32().expect("the system has random numbers")),
        };
        eprintln!("EDGEWAY_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `end` (SplitMix64).
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).expect("it is below a usize")
    }
}

/// What a client keeps of what it was given.
#[derive(Default)]
struct Seen {
    texts: Vec<String>,
    /// By dialog, feed: what a simple client drops by.
    last_offset: HashMap<String, u64>,
    repeats: Vec<Value>,
}

impl Seen {
    fn take(&mut self, event: &Value) {
        let log = format!("{} {}", check::text(event, "dialog_id"), event["feed"]);
        let offset = check::number(event, "offset");
        let last = self.last_offset.entry(log).or_default();
        if offset <= *last {
            self.repeats.push(event.clone());
            return;
        }
        assert!(*last == 0 || offset == *last + 1, "offset {offset} follows {last}: {event}");
        *last = offset;
        if event["type"] == "message_new" {
            self.texts.push(text_of(event).to_owned());
        }
    }
}

async fn a_session_that_moves_sees_each_of_a_thousand_messages_once_and_in_order() {
    move_while_messages_flow(1_000, true).await;
}

async fn a_session_that_moves_without_numbers_sees_each_message_once_and_in_order() {
    move_while_messages_flow(200, false).await;
}

async fn move_while_messages_flow(count: usize, numbered_attaches: bool) {
    /// How far the sender may be ahead: less than a queue holds, so that the same queue serves to the end.
    const AHEAD: usize = 300;
    const AT_ONCE: usize = 20;
    let mut dice = Dice::new();
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = stage.closed_dialog(&[&alice, &bob]).await;
    let texts = numbered("m", count);
    // The first message is sent when the session follows the dialog.
    let ahead = Semaphore::new(0);

    let sending = async {
        let mut sender = bob.attach(Transport::Ws).await;
        for some in texts.chunks(AT_ONCE) {
            let permits = u32::try_from(some.len()).expect("few at once");
            ahead.acquire_many(permits).await.expect("the semaphore is never closed").forget();
            sender.say_all(&dialog, some).await;
        }
    };
    let receiving = async {
        let mut attaches = 0;
        let mut number = |attach: Attach| {
            // A poll counts on by itself, with every request.
            attaches += 10_000;
            if numbered_attaches { attach.number(attaches) } else { attach }
        };
        let mut moves = [Transport::Ws, Transport::Sse, Transport::Poll].into_iter().cycle();
        let mut seen = Seen::default();
        let mut attach = number(Attach::new().dialogs(&[&dialog]));
        let mut dropped: Option<Client> = None;
        while seen.texts.len() < count {
            let on = moves.next().expect("it never ends");
            let mut client = alice.attach_with(on, attach).await;
            // The older line is cut before, or superseded by the newer one: both happen to real clients.
            drop(dropped.take());
            let is_first = seen.last_offset.is_empty();
            if is_first {
                ahead.add_permits(AHEAD);
            }
            let expected = if is_first { "new" } else { "resumed" };
            assert_eq!(client.resume(), expected, "{client}");
            let stay = 1 + dice.below(60);
            let mut heard = 0;
            while heard < stay && seen.texts.len() < count {
                let event = client.event_where("a resumable event", |e| e["cursor"].is_string()).await;
                seen.take(&event);
                let is_message = event["type"] == "message_new";
                heard += usize::from(is_message);
                ahead.add_permits(usize::from(is_message));
            }
            attach = number(client.place().again());
            if dice.below(2) == 0 {
                dropped = Some(client);
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(sending, receiving);
    assert_eq!(seen.texts, texts);
    assert!(seen.repeats.is_empty(), "repeats on the wire: {:?}", seen.repeats);
}

async fn a_session_can_be_cut_at_every_message() {
    const COUNT: usize = 30;
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut writer = bob.attach_to(Transport::Ws, &[&dialog]).await;
    let mut place = alice.attach_to(Transport::Poll, &[&dialog]).await.cut();
    writer.say_all(&dialog, &numbered("m", COUNT)).await;
    let mut moves = Transport::ALL.into_iter().cycle();
    for text in numbered("m", COUNT) {
        let on = moves.next().expect("it never ends");
        let mut client = place.attach(on).await;
        client.next_message_is(&text).await;
        place = client.cut();
    }
}
