//! The welcome, dialogs asked for while attaching, whose session it is, and who wins.

use serde_json::json;

use crate::harness::attach::Attach;
use crate::harness::check;
use crate::harness::client::{Client, Place};
use crate::harness::ending::Ended;
use crate::harness::names::unique;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

on_every_transport! {
    the_welcome_tells_the_session_and_its_limits,
    two_attaches_are_two_sessions,
    dialogs_asked_for_while_attaching_are_subscribed,
    a_dialog_that_fails_while_attaching_does_not_fail_the_others,
    dialogs_are_ignored_when_a_session_is_gone_on_with,
    an_unknown_session_is_told_so,
    another_users_session_is_as_if_it_did_not_exist,
    a_stale_attach_is_refused_and_harms_nobody,
    a_newer_attach_supersedes_the_older_whatever_carries_it,
    without_a_number_the_newest_arrival_wins,
}

async fn the_welcome_tells_the_session_and_its_limits(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let client = alice.attach(on).await;
    let welcome = client.welcome();
    assert_eq!(welcome["user_id"], alice.id(), "{welcome}");
    assert_eq!(welcome["resume"], "new", "{welcome}");
    assert!(!client.session().is_empty() && client.session().len() <= 128, "{welcome}");
    assert!(!client.session().contains('~'), "an SSE id is S~CURSOR: {welcome}");
    check::cursor(welcome);
    assert!(check::number(welcome, "ping_ms") > 0, "{welcome}");
    assert_eq!(check::number(welcome, "resume_ms"), 120_000, "{welcome}");
    check::time(welcome, "token_expires_at");
    check::time(welcome, "server_time");
    assert!(!check::text(welcome, "node").is_empty(), "{welcome}");
    let limits = &welcome["limits"];
    for (name, value) in [
        ("frame_bytes", 65_536),
        ("text_chars", 4_096),
        ("attachments", 10),
        ("subscriptions", 1_000),
        ("batch_commands", 64),
        ("typing_every_ms", 3_000),
        ("typing_expires_ms", 6_000),
        ("typing_max_members", 200),
    ] {
        assert_eq!(check::number(limits, name), value, "limits.{name}: {welcome}");
    }
    assert!(check::number(limits, "body_bytes") > 0, "{welcome}");
}

async fn two_attaches_are_two_sessions(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let (one, two) = (alice.attach(on).await, alice.attach(on).await);
    assert_ne!(one.session(), two.session());
}

async fn dialogs_asked_for_while_attaching_are_subscribed(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let (d1, d2) = (unique("d"), unique("d"));
    let mut client = alice.attach_to(on, &[&d1, &d2]).await;
    let subscribed = &client.welcome()["subscribed"];
    for dialog in [&d1, &d2] {
        check::subscribed(check::entry(check::list(subscribed, "dialogs"), "dialog_id", dialog));
    }
    assert!(check::list(subscribed, "failed").is_empty(), "{subscribed}");

    let mut other = bob.attach(Transport::Ws).await;
    for dialog in [&d1, &d2] {
        other.say(dialog, "hello").await;
        assert_eq!(client.next_message_is("hello").await["dialog_id"], **dialog);
    }
}

async fn a_dialog_that_fails_while_attaching_does_not_fail_the_others(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let (open, closed) = (unique("d"), stage.closed_dialog(&[&bob]).await);
    let client = alice.attach_with(on, Attach::new().dialogs(&[&closed, &open])).await;
    let subscribed = &client.welcome()["subscribed"];
    check::entry(check::list(subscribed, "dialogs"), "dialog_id", &open);
    assert_eq!(subscribed["failed"], json!([{ "dialog_id": closed, "code": "not_member" }]), "{subscribed}");
}

async fn dialogs_are_ignored_when_a_session_is_gone_on_with(on: Transport) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let (first, second) = (unique("d"), unique("d"));
    let place = alice.attach_to(on, &[&first]).await.cut();
    let mut client = alice.attach_with(on, place.again().dialogs(&[&second])).await;
    assert_eq!(client.resume(), "resumed");
    assert!(client.welcome().get("subscribed").is_none(), "told once: {}", client.welcome());

    let mut other = bob.attach_to(Transport::Ws, &[&first, &second]).await;
    other.say(&second, "not subscribed").await;
    other.next_message_is("not subscribed").await;
    other.say(&first, "subscribed").await;
    client.next_message_is("subscribed").await;
}

async fn an_unknown_session_is_told_so(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let unknown = "AAAAAAAAAAAAAAAAAAAAAA";
    let nowhere = Place { user: alice.clone(), session: unknown.into(), cursor: String::new() };
    assert_session_does_not_exist(on, &nowhere).await;
    alice.post(unknown, &json!({ "type": "ping" })).await.assert_refused("session_gone");
}

async fn another_users_session_is_as_if_it_did_not_exist(on: Transport) {
    let stage = Stage::shared();
    let (alice, mallory) = (stage.user("alice").await, stage.user("mallory").await);
    let dialog = unique("d");
    let mut client = alice.attach_to(on, &[&dialog]).await;
    client.hold().await;
    let theft = Place { user: mallory.clone(), ..client.place() };
    assert_session_does_not_exist(on, &theft).await;

    mallory.post(client.session(), &json!({ "type": "ping" })).await.assert_refused("session_gone");
    mallory.post(client.session(), &json!({ "type": "bye" })).await.assert_refused("session_gone");
    let (foreign, unknown) =
        (mallory.delete(client.session()).await, mallory.delete("AAAAAAAAAAAAAAAAAAAAAA").await);
    assert_eq!(foreign.status, unknown.status, "{foreign:?} {unknown:?}");
    assert_eq!(foreign.body, unknown.body);

    // Its owner has noticed nothing.
    client.say(&dialog, "still here").await;
    client.next_message_is("still here").await;
}

/// WebSocket and SSE give a new session of the user's own instead; a poll is refused.
async fn assert_session_does_not_exist(on: Transport, place: &Place) {
    match (on, place.user.try_attach(on, place.again()).await) {
        (Transport::Ws | Transport::Sse, Ok(client)) => {
            assert_eq!(client.resume(), "expired", "{}", client.welcome());
            assert_ne!(client.session(), place.session, "{}", client.welcome());
            assert_eq!(client.welcome()["user_id"], place.user.id(), "{}", client.welcome());
        }
        (Transport::Poll, Err(ended)) => ended.assert_refused("session_gone"),
        (_, outcome) => panic!("not the answer for a session that doesn't exist: {outcome:?}"),
    }
}

async fn a_stale_attach_is_refused_and_harms_nobody(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_with(on, Attach::new().dialogs(&[&dialog]).number(5)).await;
    client.hold().await;
    for stale in Transport::ALL {
        for number in [5, 4, 0] {
            match alice.try_attach(stale, client.place().again().number(number)).await {
                Err(ended) => ended.assert_refused("stale_attach"),
                Ok(_) => panic!("attach={number} by {stale} after attach=5 should be stale"),
            }
        }
        let text = format!("after stale attaches by {stale}");
        client.say(&dialog, &text).await;
        client.next_message_is(&text).await;
    }

    let mut newer = alice.attach_with(on, client.place().again().number(100)).await;
    newer.say(&dialog, "newer").await;
    newer.next_message_is("newer").await;
}

async fn a_newer_attach_supersedes_the_older_whatever_carries_it(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    for winner in Transport::ALL {
        let mut older = alice.attach_with(on, Attach::new().dialogs(&[&dialog]).number(1)).await;
        older.hold().await;
        let mut newer = alice.attach_with(winner, older.place().again().number(100)).await;
        assert_eq!(newer.resume(), "resumed", "by {winner}");
        assert_eq!(newer.session(), older.session());
        assert_superseded(on, &mut older).await;

        let text = format!("for {winner}");
        newer.say(&dialog, &text).await;
        newer.next_message_is(&text).await;
    }
}

async fn without_a_number_the_newest_arrival_wins(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let mut older = alice.attach_to(on, &[&dialog]).await;
    older.hold().await;
    let mut newer = older.place().attach(on.other()).await;
    assert_superseded(on, &mut older).await;
    newer.say(&dialog, "newer").await;
    newer.next_message_is("newer").await;
}

async fn assert_superseded(on: Transport, older: &mut Client) {
    let ended: Ended = older.ended().await;
    match on {
        Transport::Ws => assert_eq!(ended.close, Some(4009), "{ended:?}\n{older}"),
        Transport::Sse => assert_eq!(ended.goaway_reason(), "superseded", "{ended:?}\n{older}"),
        Transport::Poll => ended.assert_refused("superseded"),
    }
}
