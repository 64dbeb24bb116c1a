//! What panics in the background hurts what it was about, and for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use edgeway::adapters::inbound::wire::events::JsonCodec;
use edgeway::application::ports::bus::LogEntry;
use edgeway::application::ports::codec::{EventCodec, Undecodable};
use edgeway::domain::event::{Event, LogEpoch, NodeWord};
use edgeway::domain::ids::{DialogId, FeedKey, UserId};
use edgeway::domain::message::Message;
use edgeway::domain::presence::{Presence, TypingState};
use edgeway::session::replay::Gap;
use tokio::time::sleep;

use crate::node::{Node, dialog};

/// By then nothing is left of a feed that nobody follows.
const FEED_LEFT_AFTER: Duration = Duration::from_secs(10);

/// Panics on what nobody thought of, so many times.
struct Fragile {
    panics: AtomicUsize,
}

impl EventCodec for Fragile {
    fn decode_logged(&self, feed: &FeedKey, entry: &LogEntry) -> Result<Event, Undecodable> {
        if entry.json.windows(9).any(|text| text == b"hard work") {
            let left =
                self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            assert!(left.is_err(), "as it happens");
        }
        JsonCodec.decode_logged(feed, entry)
    }

    fn decode_ephemeral(&self, feed: &FeedKey, json: &Bytes) -> Result<Event, Undecodable> {
        JsonCodec.decode_ephemeral(feed, json)
    }

    fn typing(&self, dialog: &DialogId, user: &UserId, state: TypingState, expires_in: Duration) -> Bytes {
        JsonCodec.typing(dialog, user, state, expires_in)
    }

    fn presence(&self, dialog: &DialogId, presence: &Presence) -> Bytes {
        JsonCodec.presence(dialog, presence)
    }

    fn kick(&self, user: &UserId, reason: &str) -> Bytes {
        JsonCodec.kick(user, reason)
    }

    fn node_word(&self, user: &UserId, word: &NodeWord) -> Bytes {
        JsonCodec.node_word(user, word)
    }

    fn gap(&self, feed: &FeedKey, epoch: &LogEpoch, gap: &Gap, messages_restored: bool) -> Bytes {
        JsonCodec.gap(feed, epoch, gap, messages_restored)
    }

    fn restored(&self, message: &Message) -> Bytes {
        JsonCodec.restored(message)
    }
}

fn note(text: &str) -> String {
    format!(r#"{{"type":"x.note","dialog_id":"tea","data":"{text}"}}"#)
}

/// The first panic is the feed's, by the live event; then the sessions read the log for themselves and the feed does, in
/// whatever order.
#[tokio::test(start_paused = true)]
async fn a_feed_or_the_care_for_a_session_that_panics_goes_on_and_loses_nothing() {
    for panics in 1..=6 {
        let node = Node::with(|ports| ports.codec = Arc::new(Fragile { panics: AtomicUsize::new(panics) }));
        let (alice, bob) = (node.attach("alice").await, node.attach("bob").await);
        for client in [&alice, &bob] {
            client.subscribe(&["tea"]).await.unwrap();
        }
        let tea = FeedKey::Dialog(dialog("tea"));
        for (key, text) in [("1", "before"), ("2", "hard work"), ("3", "after")] {
            node.append(&tea, key, &note(text)).await;
        }
        for client in [&alice, &bob] {
            let heard = client.hear_until("after").await;
            let texts = ["before", "hard work", "after"];
            assert!(
                heard.len() == 3 && heard.iter().zip(texts).all(|(body, text)| body.contains(text)),
                "{heard:?}"
            );
        }
        // Leaving a feed is a matter of care.
        for user in ["alice", "bob"] {
            let removal =
                format!(r#"{{"type":"membership","dialog_id":"tea","user_id":"{user}","change":"removed"}}"#);
            node.append(&FeedKey::User(UserId::parse(user).unwrap()), "removal", &removal).await;
        }
        sleep(FEED_LEFT_AFTER).await;
        assert_eq!(node.feeds(), 2, "each session follows its user alone, after {panics} panics");
    }
}
