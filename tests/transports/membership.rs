//! Joining and leaving while attached: `subscribe all` follows, and a removal cuts the flow.

use serde_json::{Value, json};

use crate::harness::attach::Attach;
use crate::harness::check;
use crate::harness::client::{Client, send};
use crate::harness::names::unique;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;
use crate::harness::user::User;

on_every_transport! {
    subscribe_all_follows_who_joins_and_leaves,
    dialogs_all_while_attaching_is_subscribe_all,
    a_removal_cuts_the_flow_at_once,
    a_removal_also_cuts_what_already_waits,
    whoever_was_removed_can_do_nothing_more_there,
    whoever_comes_back_hears_again,
    the_user_concerned_hears_of_it_once_from_the_own_feed,
}

/// A membership event of this user in this dialog.
fn change_of(user: &User, dialog: &str, change: &str) -> impl Fn(&Value) -> bool {
    let expected = json!([user.id(), dialog, change]);
    move |event| {
        event["type"] == "membership"
            && json!([event["user_id"], event["dialog_id"], event["change"]]) == expected
    }
}

async fn hears(client: &mut Client, user: &User, dialog: &str, change: &str) -> Value {
    let what = format!("{} {change} in {dialog}", user.id());
    client.event_where(&what, change_of(user, dialog, change)).await
}

async fn subscribe_all_follows_who_joins_and_leaves(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let first = stage.closed_dialog(&[&alice, &bob]).await;
    let second = stage.closed_dialog(&[&bob]).await;
    let mut writer = bob.attach_to(Transport::Ws, &[&first, &second]).await;
    let mut client = alice.attach(on).await;
    let reply = client.ok(json!({ "type": "subscribe", "all": true })).await;
    let dialogs = check::list(&reply, "dialogs");
    check::subscribed(check::entry(dialogs, "dialog_id", &first));
    assert!(dialogs.iter().all(|entry| entry["dialog_id"] != second), "{reply}");
    writer.say(&first, "in the first").await;
    client.next_message_is("in the first").await;

    stage.add_member(&second, &alice).await;
    hears(&mut client, &alice, &second, "added").await;
    writer.say(&second, "in the second").await;
    client.next_message_is("in the second").await;

    stage.remove_member(&second, &alice).await;
    hears(&mut client, &alice, &second, "removed").await;
    writer.say(&second, "without alice").await;
    writer.events_until("without alice").await;
    writer.say(&first, "with alice").await;
    client.next_message_is("with alice").await;
}

async fn dialogs_all_while_attaching_is_subscribe_all(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let first = stage.closed_dialog(&[&alice, &bob]).await;
    let second = stage.closed_dialog(&[&bob]).await;
    let mut client = alice.attach_with(on, Attach::new().dialogs(&["all"])).await;
    check::entry(check::list(&client.welcome()["subscribed"], "dialogs"), "dialog_id", &first);
    let mut writer = bob.attach(Transport::Ws).await;
    writer.say(&first, "in the first").await;
    client.next_message_is("in the first").await;
    stage.add_member(&second, &alice).await;
    hears(&mut client, &alice, &second, "added").await;
    writer.say(&second, "in the second").await;
    client.next_message_is("in the second").await;
}

async fn a_removal_cuts_the_flow_at_once(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = stage.closed_dialog(&[&alice, &bob]).await;
    let other = unique("d");
    let mut client = alice.attach_to(on, &[&dialog, &other]).await;
    let mut writer = bob.attach_to(Transport::Ws, &[&dialog, &other]).await;
    writer.say(&dialog, "with alice").await;
    client.next_message_is("with alice").await;
    client.hold().await;

    stage.remove_member(&dialog, &alice).await;
    writer.say(&dialog, "without alice").await;
    writer.events_until("without alice").await;
    writer.say(&other, "elsewhere").await;
    let events = client.events_until("elsewhere").await;
    let after = events.iter().filter(|e| e["dialog_id"] == dialog && e["type"] != "membership");
    assert_eq!(after.count(), 0, "nothing of the dialog comes after the removal: {events:?}");
}

async fn a_removal_also_cuts_what_already_waits(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = stage.closed_dialog(&[&alice, &bob]).await;
    let other = unique("d");
    let place = alice.attach_to(on, &[&dialog, &other]).await.cut();
    let mut writer = bob.attach_to(Transport::Ws, &[&dialog, &other]).await;
    writer.say(&dialog, "waits in the queue").await;
    writer.next_message_is("waits in the queue").await;

    stage.remove_member(&dialog, &alice).await;
    // Once a later event of the dialog is out, the removal holds.
    hears(&mut writer, &alice, &dialog, "removed").await;
    writer.say(&dialog, "later").await;
    writer.next_message_is("later").await;
    let mut client = place.attach(on).await;
    assert_eq!(client.resume(), "resumed");
    writer.say(&other, "elsewhere").await;
    let events = client.events_until("elsewhere").await;
    let leaked = events.iter().filter(|e| e["dialog_id"] == dialog && e["type"] != "membership");
    assert_eq!(leaked.count(), 0, "nothing of the dialog comes after the removal: {events:?}");
    assert!(events.iter().any(change_of(&alice, &dialog, "removed")), "the removal is told: {events:?}");
}

async fn whoever_was_removed_can_do_nothing_more_there(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = stage.closed_dialog(&[&alice, &bob]).await;
    let mut client = alice.attach_to(on, &[&dialog]).await;
    client.say(&dialog, "while a member").await;
    client.next_message_is("while a member").await;
    stage.remove_member(&dialog, &alice).await;
    hears(&mut client, &alice, &dialog, "removed").await;
    for command in [
        send(&dialog, &unique("c"), "x"),
        json!({ "type": "typing", "dialog_id": dialog, "state": "started" }),
        json!({ "type": "read_upto", "dialog_id": dialog, "seq": 1 }),
        json!({ "type": "history", "dialog_id": dialog }),
        json!({ "type": "presence", "dialog_id": dialog }),
    ] {
        client.refused(command, "not_member").await;
    }
    let reply = client.ok(json!({ "type": "subscribe", "dialogs": [dialog] })).await;
    assert_eq!(reply["failed"], json!([{ "dialog_id": dialog, "code": "not_member" }]), "{reply}");
}

async fn whoever_comes_back_hears_again(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = stage.closed_dialog(&[&alice, &bob]).await;
    let mut client = alice.attach_to(on, &[&dialog]).await;
    let mut writer = bob.attach_to(Transport::Ws, &[&dialog]).await;
    stage.remove_member(&dialog, &alice).await;
    hears(&mut client, &alice, &dialog, "removed").await;
    writer.say(&dialog, "without alice").await;
    writer.events_until("without alice").await;

    stage.add_member(&dialog, &alice).await;
    hears(&mut client, &alice, &dialog, "added").await;
    client.subscribe(&[&dialog]).await;
    writer.say(&dialog, "with alice again").await;
    client.next_message_is("with alice again").await;
}

async fn the_user_concerned_hears_of_it_once_from_the_own_feed(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = stage.closed_dialog(&[&bob]).await;
    let mut client = alice.attach_with(on, Attach::new().dialogs(&["all"])).await;
    let mut member = bob.attach_to(Transport::Ws, &[&dialog]).await;
    stage.add_member(&dialog, &alice).await;
    let own = hears(&mut client, &alice, &dialog, "added").await;
    assert_eq!(own["feed"], "user", "{own}");
    let others = hears(&mut member, &alice, &dialog, "added").await;
    assert_eq!(others["feed"], "dialog", "{others}");

    member.say(&dialog, "marker").await;
    let events = client.events_until("marker").await;
    assert!(!events.iter().any(change_of(&alice, &dialog, "added")), "told once: {events:?}");
}
