//! The end of a test that an oracle judges: the last word in every dialog, and what the Store has of each.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::client::Client;

/// So many messages are asked for at once: the most that is answered.
const PAGE_MESSAGES: usize = 200;

/// Says one more thing in each dialog, by which whoever was told a gap learns where it stands, and then reads all of it.
pub(crate) async fn close<'d>(
    client: &mut Client,
    dialogs: impl IntoIterator<Item = &'d str>,
) -> BTreeMap<String, Vec<Value>> {
    let mut stored = BTreeMap::new();
    for dialog in dialogs {
        client.say(dialog, "the last one").await;
        stored.insert(dialog.to_owned(), all_of(client, dialog).await);
    }
    stored
}

async fn all_of(client: &mut Client, dialog: &str) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    loop {
        let after = messages.last().map_or(0, |message| message["seq"].as_u64().unwrap());
        let asked =
            json!({ "type": "history", "dialog_id": dialog, "after_seq": after, "limit": PAGE_MESSAGES });
        let page = client.ok(asked).await;
        messages.extend(page["messages"].as_array().unwrap().iter().cloned());
        if page["has_more"] != true {
            return messages;
        }
    }
}
