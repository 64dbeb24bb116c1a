//! Sending, order, idempotency, reading, history.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::check;
use crate::harness::client::{numbered, send};
use crate::harness::names::unique;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

on_every_transport! {
    a_message_reaches_every_session_of_every_member,
    an_answer_and_an_attachment_travel_with_the_message,
    two_hundred_messages_arrive_in_order,
    every_resumable_event_has_a_cursor_of_its_own,
    the_same_message_sent_ten_times_at_once_is_one,
    the_same_message_sent_by_two_users_is_two,
    the_same_id_with_another_body_or_dialog_is_a_conflict,
    each_limit_of_a_body_is_kept,
    reading_only_goes_forward,
    history_pages_both_ways,
}

async fn a_message_reaches_every_session_of_every_member(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut sender = alice.attach_to(on, &[&dialog]).await;
    let mut same_user = alice.attach_to(on.other(), &[&dialog]).await;
    let mut receiver = bob.attach_to(on, &[&dialog]).await;
    let id = unique("c");
    let reply =
        sender.ok(send(&dialog, &id, "Hello, wörld! 👋\n\tsecond line \"quoted\" \\ </script>")).await;
    assert_eq!(reply["duplicate"], false, "{reply}");
    check::time(&reply, "created_at");
    for client in [&mut sender, &mut same_user, &mut receiver] {
        let event = client.message().await;
        let message = &event["message"];
        assert_eq!(event["dialog_id"], dialog, "{event}");
        assert_eq!(message["sender_id"], alice.id(), "{event}");
        assert_eq!(message["client_message_id"], id, "{event}");
        assert_eq!(
            message["body"]["text"], "Hello, wörld! 👋\n\tsecond line \"quoted\" \\ </script>",
            "{event}"
        );
        assert!(message["reply_to"].is_null(), "{event}");
        for field in ["message_id", "seq", "created_at"] {
            assert_eq!(message[field], reply[field], "{field} is what the sender was told: {event}");
        }
    }
}

async fn an_answer_and_an_attachment_travel_with_the_message(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(on, &[&dialog]).await;
    let first = client.say(&dialog, "first").await;
    client.next_message_is("first").await;
    let attachments = json!([
        { "id": "a1", "name": "übersicht.pdf", "mime": "application/pdf", "size": 12345, "url": "https://x.example/a1" },
        { "id": "a2", "name": "b.png", "mime": "image/png", "size": 0 },
    ]);
    client
        .ok(json!({
            "type": "send_message", "dialog_id": dialog, "client_message_id": unique("c"),
            "body": { "attachments": attachments }, "reply_to": first["message_id"],
        }))
        .await;
    let message = client.message().await["message"].take();
    assert_eq!(message["reply_to"], first["message_id"], "{message}");
    let arrived = check::list(&message["body"], "attachments");
    assert_eq!(arrived.len(), 2, "{message}");
    for (arrived, sent) in arrived.iter().zip(attachments.as_array().into_iter().flatten()) {
        for field in ["id", "name", "mime", "size"] {
            assert_eq!(arrived[field], sent[field], "{field}: {message}");
        }
    }
    assert_eq!(arrived[0]["url"], attachments[0]["url"], "{message}");
}

async fn two_hundred_messages_arrive_in_order(on: Transport) {
    const COUNT: usize = 200;
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = stage.closed_dialog(&[&alice, &bob]).await;
    let mut sender = alice.attach_to(on, &[&dialog]).await;
    let mut receiver = bob.attach_to(on, &[&dialog]).await;
    let texts = numbered("m", COUNT);
    sender.say_all(&dialog, &texts).await;
    for client in [&mut receiver, &mut sender] {
        let (mut last_seq, mut last_offset) = (0, None);
        for text in &texts {
            let event = client.next_message_is(text).await;
            let (seq, offset) = (check::number(&event["message"], "seq"), check::number(&event, "offset"));
            assert_eq!(seq, last_seq + 1, "seq has no holes: {event}");
            assert!(last_offset.is_none_or(|last| offset == last + 1), "offsets have no holes: {event}");
            (last_seq, last_offset) = (seq, Some(offset));
        }
    }
}

async fn every_resumable_event_has_a_cursor_of_its_own(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(on, &[&dialog]).await;
    let mut cursors = HashSet::from([check::cursor(client.welcome()).to_owned()]);
    client.say_all(&dialog, &numbered("m", 20)).await;
    for _ in 0..20 {
        // That the key `cursor` stands once in an event is seen by the JSON reader of every client here.
        let event = client.message().await;
        assert!(cursors.insert(check::cursor(&event).to_owned()), "a cursor came twice: {event}");
    }
    // And they rise: the server takes each as "everything up to here".
    let mut cursors = Vec::new();
    client.say_all(&dialog, &numbered("n", 4)).await;
    for _ in 0..4 {
        cursors.push(check::cursor(&client.message().await).to_owned());
    }
    let place = client.cut();
    for (at, cursor) in cursors.iter().enumerate() {
        let mut again = place.user.attach_with(on, place.again().cursor(cursor)).await;
        assert_eq!(again.texts(3 - at).await, numbered("n", 4)[at + 1..], "after the cursor of n {}", at + 1);
    }
}

async fn the_same_message_sent_ten_times_at_once_is_one(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut one = alice.attach_to(on, &[&dialog]).await;
    let mut two = alice.attach_to(on.other(), &[&dialog]).await;
    let mut receiver = bob.attach_to(on, &[&dialog]).await;
    let command = send(&dialog, &unique("c"), "once");
    let (mut replies, more) =
        tokio::join!(one.commands(vec![command.clone(); 5]), two.commands(vec![command.clone(); 5]));
    replies.extend(more);
    replies.push(one.command(command).await);
    assert!(replies.iter().all(|reply| reply["type"] == "ok"), "a repeat is never an error: {replies:?}");
    for field in ["message_id", "seq", "created_at"] {
        assert!(replies.iter().all(|reply| reply[field] == replies[0][field]), "{field}: {replies:?}");
    }
    let first = replies.iter().filter(|reply| reply["duplicate"] == false).count();
    let repeats = replies.iter().filter(|reply| reply["duplicate"] == true).count();
    assert_eq!((first, repeats), (1, 10), "{replies:?}");

    one.say(&dialog, "marker").await;
    for client in [&mut one, &mut two, &mut receiver] {
        client.next_message_is("once").await;
        client.next_message_is("marker").await;
    }
}

async fn the_same_message_sent_by_two_users_is_two(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut one = alice.attach_to(on, &[&dialog]).await;
    let mut two = bob.attach_to(on, &[&dialog]).await;
    let id = unique("c");
    let first = one.ok(send(&dialog, &id, "of alice")).await;
    let second = two.ok(send(&dialog, &id, "of bob")).await;
    assert_eq!((&first["duplicate"], &second["duplicate"]), (&Value::from(false), &Value::from(false)));
    assert_ne!(first["message_id"], second["message_id"]);
    one.next_message_is("of alice").await;
    one.next_message_is("of bob").await;
}

async fn the_same_id_with_another_body_or_dialog_is_a_conflict(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let (dialog, other) = (unique("d"), unique("d"));
    let mut client = alice.attach_to(on, &[&dialog, &other]).await;
    let id = unique("c");
    let first = client.ok(send(&dialog, &id, "first")).await;
    client.refused(send(&dialog, &id, "another"), "conflict").await;
    client.refused(send(&other, &id, "first"), "conflict").await;
    let repeat = client.ok(send(&dialog, &id, "first")).await;
    assert_eq!((&repeat["message_id"], &repeat["duplicate"]), (&first["message_id"], &Value::from(true)));
    client.next_message_is("first").await;
    client.say(&dialog, "marker").await;
    client.next_message_is("marker").await;
}

async fn each_limit_of_a_body_is_kept(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(on, &[&dialog]).await;
    let attachment = json!({ "id": "a", "name": "n", "mime": "image/png", "size": 1 });
    let big = json!({ "id": "a", "name": "n".repeat(17 * 1024), "mime": "image/png", "size": 1 });
    for (body, what) in [
        (json!({}), "nothing"),
        (json!({ "text": "" }), "an empty text"),
        (json!({ "text": "", "attachments": [] }), "an empty text and no attachment"),
        (json!({ "text": "é".repeat(4097) }), "4097 characters"),
        (json!({ "text": "x", "attachments": vec![attachment.clone(); 11] }), "11 attachments"),
        (json!({ "text": "x", "attachments": [big] }), "17 KiB"),
        (json!({ "text": "nul \u{0}" }), "NUL"),
        (json!({ "text": "escape \u{1b}[31m" }), "an escape sequence"),
        (json!({ "text": "return\r\n" }), "a carriage return"),
        (json!({ "text": 7 }), "a number as text"),
        (json!("text"), "a string as body"),
        (Value::Null, "null as body"),
    ] {
        let command = json!({
            "type": "send_message", "dialog_id": dialog, "client_message_id": unique("c"), "body": body,
        });
        let reply = client.command(command).await;
        let code = check::text(&reply, "code");
        assert!(["bad_request", "too_large"].contains(&code), "a body of {what}: {reply}");
        check::error(&reply, code);
    }
    let largest = "é".repeat(4096);
    client.say(&dialog, &largest).await;
    client.next_message_is(&largest).await;
}

async fn reading_only_goes_forward(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut reader = bob.attach_to(on, &[&dialog]).await;
    let mut writer = alice.attach_to(on, &[&dialog]).await;
    writer.say_all(&dialog, &numbered("m", 3)).await;
    let read = |seq: u64| json!({ "type": "read_upto", "dialog_id": dialog, "seq": seq });

    let reply = reader.ok(read(2)).await;
    assert_eq!((&reply["read_seq"], &reply["unread"]), (&json!(2), &json!(1)), "{reply}");
    for client in [&mut writer, &mut reader] {
        let receipt = client.event_of("receipt").await;
        assert_eq!(receipt["dialog_id"], dialog, "{receipt}");
        assert_eq!((&receipt["user_id"], &receipt["read_seq"]), (&json!(bob.id()), &json!(2)), "{receipt}");
    }

    let reply = reader.ok(read(1)).await;
    assert_eq!((&reply["read_seq"], &reply["unread"]), (&json!(2), &json!(1)), "{reply}");
    let reply = reader.ok(read(3)).await;
    assert_eq!((&reply["read_seq"], &reply["unread"]), (&json!(3), &json!(0)), "{reply}");
    let receipt = writer.event_of("receipt").await;
    assert_eq!(receipt["read_seq"], 3, "what goes back is not told: {receipt}");

    let place = bob.attach_to(on, &[&dialog]).await;
    let entry = &place.welcome()["subscribed"]["dialogs"][0];
    assert_eq!((&entry["read_seq"], &entry["last_message_seq"]), (&json!(3), &json!(3)), "{entry}");
}

async fn history_pages_both_ways(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach(on).await;
    client.say_all(&dialog, &numbered("m", 5)).await;
    for (fields, expected, more) in [
        (json!({}), vec![1, 2, 3, 4, 5], false),
        (json!({ "limit": 2 }), vec![4, 5], true),
        (json!({ "before_seq": 4, "limit": 2 }), vec![2, 3], true),
        (json!({ "before_seq": 3, "limit": 2 }), vec![1, 2], false),
        (json!({ "before_seq": 1, "limit": 2 }), vec![], false),
        (json!({ "after_seq": 2, "limit": 2 }), vec![3, 4], true),
        (json!({ "after_seq": 3, "limit": 2 }), vec![4, 5], false),
        (json!({ "after_seq": 5 }), vec![], false),
        (json!({ "limit": 100_000 }), vec![1, 2, 3, 4, 5], false),
    ] {
        let mut command = fields;
        command["type"] = "history".into();
        command["dialog_id"] = dialog.as_str().into();
        let reply = client.ok(command.clone()).await;
        let messages = check::list(&reply, "messages");
        messages.iter().for_each(check::message);
        let mut found: Vec<u64> = messages.iter().map(|message| check::number(message, "seq")).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{command} → {reply}");
        assert_eq!(check::flag(&reply, "has_more"), more, "{command} → {reply}");
        for message in messages {
            let text = format!("m {}", message["seq"]);
            assert_eq!(message["body"]["text"], text, "{message}");
        }
    }
    let both = json!({ "type": "history", "dialog_id": dialog, "before_seq": 4, "after_seq": 1 });
    client.refused(both, "bad_request").await;
}
