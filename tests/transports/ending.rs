//! How a session ends: `bye` and `DELETE`.

use reqwest::Method;
use serde_json::json;

use crate::harness::client::Place;
use crate::harness::names::unique;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

on_every_transport! {
    bye_ends_the_session_and_its_line,
    delete_ends_the_session_and_its_line,
    a_session_that_ended_takes_nothing_more,
    a_session_that_is_not_attached_can_be_ended,
    a_cut_line_does_not_end_the_session,
}

/// The session is no more: for its owner as for anybody.
async fn assert_gone(place: &Place) {
    place.user.post(&place.session, &json!({ "type": "ping" })).await.assert_refused("session_gone");
    for on in Transport::ALL {
        match (on, place.user.try_attach(on, place.again()).await) {
            (Transport::Ws | Transport::Sse, Ok(client)) => {
                assert_eq!(client.resume(), "expired", "by {on}: {}", client.welcome());
                assert_ne!(client.session(), place.session, "by {on}");
            }
            (Transport::Poll, Err(ended)) => ended.assert_refused("session_gone"),
            (_, outcome) => panic!("the session should be gone by {on}: {outcome:?}"),
        }
    }
}

async fn bye_ends_the_session_and_its_line(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let mut client = alice.attach(on).await;
    client.hold().await;
    match on {
        Transport::Ws => client.fire(&json!({ "type": "bye" })).await,
        Transport::Sse | Transport::Poll => {
            let answer = alice.post(client.session(), &json!({ "type": "bye" })).await;
            assert_eq!(answer.replies()[0]["type"], "ok", "{answer:?}");
        }
    }
    let ended = client.ended().await;
    match on {
        Transport::Ws => assert_eq!(ended.close, Some(1000), "{ended:?}\n{client}"),
        Transport::Sse => assert!(ended.note.contains("the stream ended"), "not broken: {ended:?}\n{client}"),
        Transport::Poll => ended.assert_refused("session_gone"),
    }
    assert_gone(&client.place()).await;
}

async fn delete_ends_the_session_and_its_line(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let mut client = alice.attach(on).await;
    client.hold().await;
    let answer = alice.delete(client.session()).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let ended = client.ended().await;
    match on {
        Transport::Ws => assert_eq!(ended.close, Some(4010), "{ended:?}\n{client}"),
        Transport::Sse => assert!(ended.note.contains("the stream ended"), "not broken: {ended:?}\n{client}"),
        Transport::Poll => ended.assert_refused("session_gone"),
    }
    assert_gone(&client.place()).await;
}

async fn a_session_that_ended_takes_nothing_more(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let session = alice.attach_to(on, &[&dialog]).await.cut().session;
    let mut witness = alice.attach_to(Transport::Ws, &[&dialog]).await;
    let batch = json!([
        { "type": "bye", "ref": "bye" },
        crate::harness::client::send(&dialog, &unique("c"), "too late"),
    ]);
    alice.post(&session, &batch).await;
    witness.say(&dialog, "marker").await;
    witness.next_message_is("marker").await;
}

async fn a_session_that_is_not_attached_can_be_ended(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let place = alice.attach(on).await.cut();
    let answer = alice.call(Method::DELETE, &format!("/v1/sessions/{}", place.session), None).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_gone(&place).await;
}

async fn a_cut_line_does_not_end_the_session(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let place = alice.attach_to(on, &[&dialog]).await.cut();
    // Commands are taken as before, and their effects wait.
    let answer = alice.post(&place.session, &json!({ "type": "ping" })).await;
    assert_eq!(answer.replies()[0]["type"], "pong", "{answer:?}");
    alice.attach(on).await.say(&dialog, "while away").await;
    let mut client = place.attach(on).await;
    assert_eq!(client.resume(), "resumed");
    assert_eq!(client.session(), place.session);
    client.next_message_is("while away").await;
}
