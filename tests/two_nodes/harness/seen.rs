//! What a simple client keeps of one dialog: it drops by offset.

use serde_json::Value;

use super::check;
use super::client::{Client, text_of};

/// The messages of one dialog, each once.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Texts in the order they came.
    pub(crate) texts: Vec<String>,
    last_offset: u64,
}

impl Seen {
    /// Takes an event, unless it is one that it has. Those that are new come in order and without a hole.
    pub(crate) fn take(&mut self, event: &Value) {
        let offset = check::number(event, "offset");
        if offset <= self.last_offset {
            return;
        }
        assert!(
            self.last_offset == 0 || offset == self.last_offset + 1,
            "offset {offset} follows {}: {event}",
            self.last_offset
        );
        self.last_offset = offset;
        self.texts.push(text_of(event).to_owned());
    }

    /// Listens until it has so many.
    pub(crate) async fn listen(&mut self, client: &mut Client, until: usize) {
        while self.texts.len() < until {
            self.take(&client.message().await);
        }
    }
}
