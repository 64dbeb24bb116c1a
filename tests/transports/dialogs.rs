//! Subscribing and unsubscribing, replay with `since`, and the gap when it can't be.

use serde_json::{Value, json};

use crate::harness::check;
use crate::harness::client::{Client, numbered, send, text_of};
use crate::harness::names::unique;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

on_every_transport! {
    a_subscribe_tells_where_each_dialog_stands,
    a_malformed_id_is_a_failed_entry_in_subscribe,
    a_malformed_id_is_a_bad_request_elsewhere,
    a_dialog_of_others_is_a_failed_entry_and_an_error_elsewhere,
    two_subscribes_are_one,
    an_unsubscribe_stops_the_flow,
    an_unsubscribe_of_all_stops_every_flow,
    a_subscribe_with_since_replays_what_came_after,
    a_since_that_is_up_to_date_replays_nothing,
    a_since_ahead_of_the_log_is_told_by_a_gap,
    a_since_of_another_epoch_is_told_by_a_gap,
    more_than_two_hundred_dialogs_at_once_are_refused,
}

/// What is no id: each must be refused wherever an id is taken.
fn malformed_ids() -> Vec<String> {
    let mut ids: Vec<String> =
        ["", "{}", "*", "a\nb", "a%00", "..", ".a", "-a", "a b", "é", "a/b", "a\u{0}b", "{d:x}:log"]
            .map(String::from)
            .into();
    ids.push("x".repeat(129));
    ids
}

async fn a_subscribe_tells_where_each_dialog_stands(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut writer = bob.attach_to(Transport::Ws, &[&dialog]).await;
    writer.say_all(&dialog, &numbered("m", 3)).await;
    for _ in 0..3 {
        writer.message().await;
    }

    let mut client = alice.attach(on).await;
    let reply = client.subscribe(&[&dialog]).await;
    let entry = &check::list(&reply, "dialogs")[0];
    check::subscribed(entry);
    assert_eq!(entry["dialog_id"], dialog, "{reply}");
    assert_eq!(entry["last_message_seq"], 3, "{reply}");
    assert_eq!(entry["read_seq"], 0, "{reply}");
    assert!(check::number(entry, "offset") >= 3, "three messages are in the log: {reply}");
    assert!(entry.get("presence").is_none(), "presence was not asked for: {reply}");
    assert!(check::list(&reply, "failed").is_empty(), "{reply}");

    // The longest id there may be.
    let longest = format!("{:x<128}", unique("d"));
    client.subscribe(&[&longest]).await;
}

async fn a_malformed_id_is_a_failed_entry_in_subscribe(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let mut client = alice.attach(on).await;
    let good = unique("d");
    let mut dialogs = malformed_ids();
    let bad_count = dialogs.len();
    dialogs.insert(bad_count / 2, good.clone());
    let reply = client.ok(json!({ "type": "subscribe", "dialogs": dialogs })).await;
    let failed = check::list(&reply, "failed");
    assert_eq!(failed.len(), bad_count, "{reply}");
    assert!(failed.iter().all(|entry| entry["code"] == "bad_request"), "{reply}");
    let subscribed = check::list(&reply, "dialogs");
    assert_eq!(subscribed.len(), 1, "{reply}");
    assert_eq!(subscribed[0]["dialog_id"], good, "{reply}");

    client.say(&good, "works").await;
    client.next_message_is("works").await;
}

async fn a_malformed_id_is_a_bad_request_elsewhere(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let mut client = alice.attach(on).await;
    let dialog = unique("d");
    client.subscribe(&[&dialog]).await;
    for bad in malformed_ids() {
        for command in [
            send(&bad, &unique("c"), "x"),
            send(&dialog, &bad, "x"),
            json!({ "type": "typing", "dialog_id": bad, "state": "started" }),
            json!({ "type": "read_upto", "dialog_id": bad, "seq": 1 }),
            json!({ "type": "history", "dialog_id": bad }),
            json!({ "type": "presence", "dialog_id": bad }),
        ] {
            let error = client.refused(command, "bad_request").await;
            let echoed = bad.len() > 2 && check::text(&error, "message").contains(&bad);
            assert!(!echoed, "a message never repeats the input: {error}");
        }
    }
    client.say(&dialog, "nothing was done").await;
    client.next_message_is("nothing was done").await;
}

async fn a_dialog_of_others_is_a_failed_entry_and_an_error_elsewhere(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = stage.closed_dialog(&[&bob]).await;
    let mut member = bob.attach_to(Transport::Ws, &[&dialog]).await;
    let mut client = alice.attach(on).await;
    let reply = client.ok(json!({ "type": "subscribe", "dialogs": [dialog] })).await;
    assert_eq!(reply["failed"], json!([{ "dialog_id": dialog, "code": "not_member" }]), "{reply}");
    assert!(check::list(&reply, "dialogs").is_empty(), "{reply}");
    for command in [
        send(&dialog, &unique("c"), "x"),
        json!({ "type": "typing", "dialog_id": dialog, "state": "started" }),
        json!({ "type": "read_upto", "dialog_id": dialog, "seq": 1 }),
        json!({ "type": "history", "dialog_id": dialog }),
        json!({ "type": "presence", "dialog_id": dialog }),
    ] {
        client.refused(command, "not_member").await;
    }

    member.say(&dialog, "for members").await;
    let events = member.events_until("for members").await;
    assert!(events.iter().all(|event| event["user_id"] != alice.id()), "{events:?}");
    let mine = unique("d");
    client.subscribe(&[&mine]).await;
    client.say(&mine, "for me").await;
    client.next_message_is("for me").await;
}

async fn two_subscribes_are_one(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(on, &[&dialog]).await;
    client.subscribe(&[&dialog]).await;
    // Named twice in one command as well.
    client.ok(json!({ "type": "subscribe", "dialogs": [dialog, dialog] })).await;
    client.say_all(&dialog, &numbered("m", 3)).await;
    assert_eq!(client.texts(3).await, numbered("m", 3));
}

async fn an_unsubscribe_stops_the_flow(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let (left, kept) = (unique("d"), unique("d"));
    let mut client = alice.attach_to(on, &[&left, &kept]).await;
    let mut writer = bob.attach_to(Transport::Ws, &[&left, &kept]).await;
    say_and_see(&mut writer, &left, "before").await;
    client.next_message_is("before").await;

    client.ok(json!({ "type": "unsubscribe", "dialogs": [left] })).await;
    say_and_see(&mut writer, &left, "unheard").await;
    say_and_see(&mut writer, &kept, "heard").await;
    client.next_message_is("heard").await;

    client.subscribe(&[&left]).await;
    writer.say(&left, "again").await;
    client.next_message_is("again").await;
}

async fn an_unsubscribe_of_all_stops_every_flow(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialogs = [unique("d"), unique("d"), unique("d")];
    let names: Vec<&str> = dialogs.iter().map(String::as_str).collect();
    let mut client = alice.attach_to(on, &names).await;
    client.ok(json!({ "type": "unsubscribe", "all": true })).await;
    let mut writer = bob.attach_to(Transport::Ws, &names).await;
    for dialog in names {
        say_and_see(&mut writer, dialog, "unheard").await;
    }
    client.subscribe(&[&dialogs[2]]).await;
    writer.say(&dialogs[2], "heard").await;
    client.next_message_is("heard").await;
}

/// The writer has it, so it has left the bus.
async fn say_and_see(writer: &mut Client, dialog: &str, text: &str) {
    writer.say(dialog, text).await;
    writer.next_message_is(text).await;
}

/// A dialog of two with five messages, and what `subscribe` must know of it.
struct Log {
    dialog: String,
    epoch: Value,
    /// Of each message, in order.
    offsets: Vec<u64>,
    reader: Client,
    writer: Client,
}

async fn five_messages(on: Transport) -> Log {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    // Closed, so that nobody's coming is in the log between the messages.
    let dialog = stage.closed_dialog(&[&alice, &bob]).await;
    let reader = alice.attach(on).await;
    let mut writer = bob.attach(Transport::Ws).await;
    let reply = writer.subscribe(&[&dialog]).await;
    let epoch = reply["dialogs"][0]["epoch"].clone();
    writer.say_all(&dialog, &numbered("m", 5)).await;
    let mut offsets = Vec::new();
    for text in numbered("m", 5) {
        offsets.push(check::number(&writer.next_message_is(&text).await, "offset"));
    }
    assert!(offsets.windows(2).all(|pair| pair[1] == pair[0] + 1), "offsets are contiguous: {offsets:?}");
    Log { dialog, epoch, offsets, reader, writer }
}

fn since(log: &Log, epoch: &Value, offset: u64) -> Value {
    let since = json!({ "epoch": epoch, "offset": offset });
    json!({ "type": "subscribe", "dialogs": [{ "dialog_id": log.dialog, "since": since }] })
}

async fn a_subscribe_with_since_replays_what_came_after(on: Transport) {
    let mut log = five_messages(on).await;
    let reply = log.reader.ok(since(&log, &log.epoch, log.offsets[1])).await;
    assert_eq!(reply["dialogs"][0]["replayed"], 3, "{reply}");
    assert_eq!(reply["dialogs"][0]["offset"], log.offsets[4], "{reply}");
    for (text, offset) in numbered("m", 5).iter().zip(&log.offsets).skip(2) {
        let message = log.reader.next_message_is(text).await;
        assert_eq!(message["offset"], *offset, "a replayed event keeps its offset: {message}");
    }
    log.writer.say(&log.dialog, "live").await;
    let live = log.reader.next_message_is("live").await;
    assert_eq!(live["offset"], log.offsets[4] + 1, "{live}");
}

async fn a_since_that_is_up_to_date_replays_nothing(on: Transport) {
    let mut log = five_messages(on).await;
    let reply = log.reader.ok(since(&log, &log.epoch, log.offsets[4])).await;
    assert_eq!(reply["dialogs"][0]["replayed"].as_u64().unwrap_or(0), 0, "{reply}");
    log.writer.say(&log.dialog, "live").await;
    log.reader.next_message_is("live").await;
}

async fn a_since_ahead_of_the_log_is_told_by_a_gap(on: Transport) {
    let log = five_messages(on).await;
    let (epoch, ahead) = (log.epoch.clone(), log.offsets[4] + 1_000);
    assert_log_reset(log, &epoch, ahead).await;
}

async fn a_since_of_another_epoch_is_told_by_a_gap(on: Transport) {
    let log = five_messages(on).await;
    let epoch = check::text(&json!({ "epoch": log.epoch }), "epoch").to_owned();
    let other: String = epoch
        .chars()
        .enumerate()
        .map(|(at, c)| {
            if at > 0 {
                c
            } else if c == '1' {
                '2'
            } else {
                '1'
            }
        })
        .collect();
    let offset = log.offsets[1];
    assert_log_reset(log, &other.into(), offset).await;
}

async fn assert_log_reset(mut log: Log, epoch: &Value, offset: u64) {
    log.reader.ok(since(&log, epoch, offset)).await;
    let gap = loop {
        let event = log.reader.event().await;
        match event["type"].as_str() {
            Some("gap") => break event,
            Some("membership") => {}
            _ => log.reader.fail("the gap comes first"),
        }
    };
    assert_eq!(gap["dialog_id"], log.dialog, "{gap}");
    assert_eq!(gap["reason"], "log_reset", "{gap}");
    assert_eq!(gap["from_offset"], 1, "{gap}");
    assert_eq!(gap["epoch"], log.epoch, "the gap tells the current epoch: {gap}");
    let to = check::number(&gap, "to_offset");
    assert!(to < log.offsets[0], "nothing of this log is lost: {gap}");
    // What the log has follows.
    for (text, offset) in numbered("m", 5).iter().zip(&log.offsets) {
        let message = log.reader.event_where("a replayed message", is_logged_message).await;
        assert_eq!((text_of(&message), &message["offset"]), (text.as_str(), &Value::from(*offset)));
    }
    log.writer.say(&log.dialog, "live").await;
    log.reader.next_message_is("live").await;
}

fn is_logged_message(event: &Value) -> bool {
    event["type"] == "message_new" && event["restored"] != true
}

async fn more_than_two_hundred_dialogs_at_once_are_refused(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let mut client = alice.attach(on).await;
    let dialogs: Vec<String> = (0..201).map(|_| unique("d")).collect();
    let reply = client.command(json!({ "type": "subscribe", "dialogs": dialogs })).await;
    let code = check::text(&reply, "code");
    assert!(["bad_request", "too_large", "limit_exceeded"].contains(&code), "{reply}");
    client.subscribe(&dialogs[..200].iter().map(String::as_str).collect::<Vec<_>>()).await;
}
