//! Typing and presence: told to others, throttled, never replayed.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::check;
use crate::harness::client::Client;
use crate::harness::names::unique;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;
use crate::harness::user::User;

on_every_transport! {
    typing_reaches_the_others_and_not_oneself,
    typing_is_passed_on_once_in_three_seconds,
    typing_is_not_heard_where_it_was_not_wanted,
    what_is_ephemeral_is_never_replayed,
    presence_is_listed_and_told,
    presence_is_only_for_those_who_ask,
    who_asks_for_presence_no_more_is_seen_no_more,
    a_stop_does_not_let_the_next_start_through,
}

fn typing(dialog: &str, state: &str) -> Value {
    json!({ "type": "typing", "dialog_id": dialog, "state": state })
}

async fn typing_reaches_the_others_and_not_oneself(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut writer = alice.attach_to(on, &[&dialog]).await;
    let mut same_user = alice.attach_to(on.other(), &[&dialog]).await;
    let mut reader = bob.attach_to(on, &[&dialog]).await;
    reader.hold().await;
    writer.ok(typing(&dialog, "started")).await;
    let event = reader.event_of("typing").await;
    assert_eq!(event["dialog_id"], dialog, "{event}");
    assert_eq!((&event["user_id"], &event["state"]), (&json!(alice.id()), &json!("started")), "{event}");
    assert_eq!(event["expires_in_ms"], 6_000, "{event}");

    writer.say(&dialog, "written").await;
    writer.nothing_of("typing", "written").await;
    same_user.nothing_of("typing", "written").await;
}

async fn typing_is_passed_on_once_in_three_seconds(on: Transport) {
    const EVERY_SECONDS: u64 = 3;
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut writer = alice.attach_to(on, &[&dialog]).await;
    let mut second = alice.attach_to(on.other(), &[&dialog]).await;
    let mut reader = bob.attach_to(on, &[&dialog]).await;
    reader.hold().await;
    let began = Instant::now();
    for _ in 0..5 {
        // What the throttle swallows is still ok, from whatever session of the user.
        writer.ok(typing(&dialog, "started")).await;
        second.ok(typing(&dialog, "started")).await;
    }
    // Ephemeral events keep no order with the others: the one that passes is waited for, then none may follow.
    reader.event_of("typing").await;
    reader.say(&dialog, "marker").await;
    let at_most = 1 + began.elapsed().as_secs() / EVERY_SECONDS;
    let events = reader.events_until("marker").await;
    let further = events.iter().filter(|e| e["type"] == "typing" && e["state"] == "started").count() as u64;
    assert!(further < at_most, "{further} more than the first, of at most {at_most}: {events:?}");
}

async fn typing_is_not_heard_where_it_was_not_wanted(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut writer = alice.attach_to(Transport::Ws, &[&dialog]).await;
    let mut witness = bob.attach_to(Transport::Ws, &[&dialog]).await;
    let mut reader = bob.attach(on).await;
    reader.ok(json!({ "type": "subscribe", "dialogs": [dialog], "typing": false })).await;
    reader.hold().await;
    writer.ok(typing(&dialog, "started")).await;
    witness.event_of("typing").await;
    writer.say(&dialog, "written").await;
    reader.nothing_of("typing", "written").await;
}

async fn what_is_ephemeral_is_never_replayed(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut writer = alice.attach_to(Transport::Ws, &[&dialog]).await;
    let mut reader = bob.attach_to(on, &[&dialog]).await;
    writer.say(&dialog, "before").await;
    reader.next_message_is("before").await;
    let before = reader.place();
    reader.pin();
    writer.ok(typing(&dialog, "started")).await;
    reader.event_of("typing").await;
    writer.say(&dialog, "after").await;
    reader.next_message_is("after").await;
    drop(reader);

    let mut again = before.attach(on.other()).await;
    again.nothing_of("typing", "after").await;
}

fn with_presence(dialog: &str) -> Value {
    json!({ "type": "subscribe", "dialogs": [dialog], "presence": true })
}

async fn hears_presence(client: &mut Client, of: &User, state: &str) -> Value {
    let what = format!("{} {state}", of.id());
    client
        .event_where(&what, |e| e["type"] == "presence" && e["user_id"] == of.id() && e["state"] == state)
        .await
}

fn states(users: &[Value]) -> Vec<(String, String)> {
    users.iter().for_each(check::presence);
    let mut states: Vec<_> = users
        .iter()
        .filter(|user| user["state"] != "offline")
        .map(|user| (check::text(user, "user_id").to_owned(), check::text(user, "state").to_owned()))
        .collect();
    states.sort();
    states
}

fn expected(users: &[(&User, &str)]) -> Vec<(String, String)> {
    let mut states: Vec<_> =
        users.iter().map(|(user, state)| (user.id().to_owned(), (*state).to_owned())).collect();
    states.sort();
    states
}

async fn presence_is_listed_and_told(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut watcher = alice.attach(on).await;
    let reply = watcher.ok(with_presence(&dialog)).await;
    let listed = check::list(&reply["dialogs"][0], "presence");
    assert_eq!(states(listed), expected(&[(&alice, "online")]), "{reply}");

    watcher.hold().await;
    let mut comer = bob.attach(on).await;
    let reply = comer.ok(with_presence(&dialog)).await;
    let listed = check::list(&reply["dialogs"][0], "presence");
    assert_eq!(states(listed), expected(&[(&alice, "online"), (&bob, "online")]), "{reply}");
    let event = hears_presence(&mut watcher, &bob, "online").await;
    assert_eq!(event["dialog_id"], dialog, "{event}");

    watcher.hold().await;
    comer.ok(json!({ "type": "status", "state": "away" })).await;
    hears_presence(&mut watcher, &bob, "away").await;
    let reply = watcher.ok(json!({ "type": "presence", "dialog_id": dialog })).await;
    let listed = check::list(&reply, "users");
    assert_eq!(states(listed), expected(&[(&alice, "online"), (&bob, "away")]), "{reply}");

    // `bye` has no grace; a lost connection has 15 s of it, which is more than the deadline of a wait here.
    watcher.hold().await;
    let session = comer.cut().session;
    bob.post(&session, &json!({ "type": "bye" })).await;
    hears_presence(&mut watcher, &bob, "offline").await;
    let reply = watcher.ok(json!({ "type": "presence", "dialog_id": dialog })).await;
    assert_eq!(states(check::list(&reply, "users")), expected(&[(&alice, "online")]), "{reply}");
}

async fn a_stop_does_not_let_the_next_start_through(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut watcher = alice.attach_to(Transport::Ws, &[&dialog]).await;
    let mut typist = bob.attach_to(on, &[&dialog]).await;
    let began = Instant::now();
    for state in ["started", "stopped", "started", "stopped", "started", "stopped"] {
        typist.ok(json!({ "type": "typing", "dialog_id": dialog, "state": state })).await;
    }
    let allowed = 1 + began.elapsed().as_secs() / 3;
    typist.say(&dialog, "marker").await;
    let events = watcher.events_until("marker").await;
    let started = events.iter().filter(|e| e["type"] == "typing" && e["state"] == "started").count() as u64;
    assert!(started <= allowed, "{started} in {:?}: {events:?}", began.elapsed());
}

async fn who_asks_for_presence_no_more_is_seen_no_more(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut watcher = alice.attach(Transport::Ws).await;
    watcher.ok(with_presence(&dialog)).await;
    let mut shy = bob.attach(on).await;
    shy.ok(with_presence(&dialog)).await;
    hears_presence(&mut watcher, &bob, "online").await;
    shy.ok(json!({ "type": "subscribe", "dialogs": [dialog] })).await;
    hears_presence(&mut watcher, &bob, "offline").await;
}

async fn presence_is_only_for_those_who_ask(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob, carol) = (stage.user("alice").await, stage.user("bob").await, stage.user("carol").await);
    let dialog = unique("d");
    let mut hidden = alice.attach_to(on, &[&dialog]).await;
    let mut watcher = carol.attach(Transport::Ws).await;
    watcher.ok(with_presence(&dialog)).await;
    let mut comer = bob.attach(on).await;
    let reply = comer.ok(with_presence(&dialog)).await;
    let listed = check::list(&reply["dialogs"][0], "presence");
    assert_eq!(
        states(listed),
        expected(&[(&bob, "online"), (&carol, "online")]),
        "alice is not seen: {reply}"
    );
    hears_presence(&mut watcher, &bob, "online").await;
    comer.say(&dialog, "marker").await;
    hidden.nothing_of("presence", "marker").await;
}
