//! Who may attach: tokens, tickets, refresh.

use serde_json::json;

use crate::harness::attach::{Attach, Credentials};
use crate::harness::check;
use crate::harness::client::Client;
use crate::harness::names::unique;
use crate::harness::server::Settings;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;
use crate::harness::user::User;

/// A token is good until its `exp` and not a moment longer.
const NO_LEEWAY: Settings = &[("EDGEWAY__AUTH__LEEWAY", "0s")];
/// As seconds of a token's life: it runs out while a test waits for that.
const SOON: u64 = 3;
/// How late after the moment itself something may be told, in seconds. Less than a poll waits by itself.
const LATE_MAX: f64 = 2.5;

on_every_transport! {
    a_token_that_does_not_verify_is_unauthorized,
    a_token_in_the_query_is_refused,
    a_ticket_attaches_once,
    a_ticket_that_was_never_given_is_unauthorized,
    a_refresh_takes_a_token_of_the_same_subject_only,
    a_refresh_takes_no_token_that_may_not_read,
    a_token_is_said_to_run_out_a_minute_ahead,
    a_token_that_runs_out_ends_the_line_and_the_session_goes_on_with_a_newer_one,
}

once! {
    a_refresh_keeps_the_line_beyond_the_end_of_the_old_token,
    without_credentials_every_path_is_unauthorized,
}

async fn a_token_that_does_not_verify_is_unauthorized(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    // Same header and payload; another signature.
    let (signed, signature) = alice.token().rsplit_once('.').expect("a JWT has three parts");
    let flipped: String = signature.chars().rev().collect();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.";
    for token in ["garbage", "a.b.c", none, &format!("{signed}.{flipped}"), &"x".repeat(9 * 1024)] {
        let attach = Attach::new().credentials(Credentials::Bearer(token.into()));
        match alice.try_attach(on, attach).await {
            Err(ended) => ended.assert_refused("unauthorized"),
            Ok(client) => panic!("{token:?} was let in: {client}"),
        }
    }
}

async fn a_token_in_the_query_is_refused(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let attach = Attach::new().credentials(Credentials::AccessTokenInQuery(alice.token().into()));
    match alice.try_attach(on, attach).await {
        Err(ended) => ended.assert_refused("unauthorized"),
        Ok(client) => panic!("a token in the query was taken: {client}"),
    }
}

async fn a_ticket_attaches_once(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let attach = Attach::new().credentials(Credentials::Ticket(alice.ticket().await));
    let client = alice.attach_with(on, attach.clone()).await;
    assert_eq!(client.welcome()["user_id"], alice.id(), "{}", client.welcome());
    match alice.try_attach(on, attach).await {
        Err(ended) => ended.assert_refused("unauthorized"),
        Ok(client) => panic!("a ticket was taken twice: {client}"),
    }
}

async fn a_ticket_that_was_never_given_is_unauthorized(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    for ticket in ["x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "'; --"] {
        match alice.try_attach(on, Attach::new().credentials(Credentials::Ticket(ticket.into()))).await {
            Err(ended) => ended.assert_refused("unauthorized"),
            Ok(client) => panic!("the ticket {ticket:?} was taken: {client}"),
        }
    }
}

async fn a_refresh_takes_a_token_of_the_same_subject_only(on: Transport) {
    let stage = Stage::shared();
    let (alice, mallory) = (stage.user("alice").await, stage.user("mallory").await);
    let mut client = alice.attach(on).await;
    let fresh = stage.token(alice.id()).await;
    let reply = client.ok(json!({ "type": "refresh", "token": fresh })).await;
    check::time(&reply, "token_expires_at");
    client.refused(json!({ "type": "refresh", "token": mallory.token() }), "forbidden").await;
}

async fn a_refresh_takes_no_token_that_may_not_read(on: Transport) {
    let stage = Stage::shared();
    let alice = stage.user("alice").await;
    let mut client = alice.attach(on).await;
    let asked = json!({ "user_id": alice.id(), "scope": "messages:write" });
    let response = stage.http().post(stage.url("/dev/token")).body(asked.to_string()).send().await;
    let body = response.expect("an answer").text().await.expect("a body");
    let issued: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    client.refused(json!({ "type": "refresh", "token": issued["token"] }), "forbidden").await;
}

async fn without_credentials_every_path_is_unauthorized() {
    let alice = Stage::shared().user("alice").await;
    let session = alice.attach(Transport::Sse).await.cut().session;
    let nobody = Attach::new().credentials(Credentials::None);
    for (method, path) in [
        (reqwest::Method::GET, "/v1/sse".to_owned()),
        (reqwest::Method::GET, "/v1/poll".to_owned()),
        (reqwest::Method::GET, format!("/v1/poll?session={session}")),
        (reqwest::Method::POST, "/v1/tickets".to_owned()),
        (reqwest::Method::POST, format!("/v1/commands?session={session}")),
        (reqwest::Method::DELETE, format!("/v1/sessions/{session}")),
    ] {
        let response = alice.ask(method, &path, &nobody, "answer without credentials").await;
        alice.refusal(response).await.assert_refused("unauthorized");
    }
}

/// Seconds until the token's end; below zero: since then.
fn seconds_left(client: &Client) -> f64 {
    let end: jiff::Timestamp = check::time(client.welcome(), "token_expires_at").parse().expect("a time");
    end.duration_since(jiff::Timestamp::now()).as_secs_f64()
}

async fn a_token_is_said_to_run_out_a_minute_ahead(on: Transport) {
    const NOTICE: f64 = 60.0;
    let stage = Stage::with(NO_LEEWAY);
    let alice = stage.user_for_seconds("alice", NOTICE as u64 + SOON).await;
    let mut client = alice.attach(on).await;
    assert!(seconds_left(&client) > NOTICE, "{}", client.welcome());
    let expiring = client.token_expiring().await;
    assert_eq!(expiring["expires_at"], client.welcome()["token_expires_at"]);
    let left = seconds_left(&client);
    assert!((NOTICE - LATE_MAX..=NOTICE).contains(&left), "{left} s ahead");
}

async fn a_token_that_runs_out_ends_the_line_and_the_session_goes_on_with_a_newer_one(on: Transport) {
    let stage = Stage::with(NO_LEEWAY);
    let alice = stage.user_for_seconds("alice", SOON).await;
    let dialog = unique("d");
    let mut client = alice.attach_to(on, &[&dialog]).await;
    client.token_expiring().await;
    client.hold().await;
    let ended = client.ended().await;
    let left = seconds_left(&client);
    assert!((-LATE_MAX..=0.0).contains(&left), "the line ended {left} s before the token\n{client}");
    assert_eq!(client.expiries_heard(), 0, "it is told once, over however many polls\n{client}");
    match on {
        Transport::Ws => {
            assert_eq!((ended.goaway_reason(), ended.close), ("token_expired", Some(4201)), "{ended:?}");
        }
        Transport::Sse => {
            assert_eq!(ended.goaway_reason(), "token_expired", "{ended:?}");
            assert!(ended.note.contains("the stream ended"), "not broken: {ended:?}");
        }
        Transport::Poll => ended.assert_refused("token_expired"),
    }
    let place = client.cut();
    match alice.try_attach(on, place.again()).await {
        Err(ended) => ended.assert_refused("token_expired"),
        Ok(client) => panic!("the old token was taken: {client}"),
    }
    let alice = User::new(stage.clone(), alice.id().into(), stage.token(alice.id()).await);
    alice.attach(Transport::Ws).await.say(&dialog, "meanwhile").await;
    let mut client = alice.attach_with(on, place.again()).await;
    assert_eq!(client.resume(), "resumed");
    client.next_message_is("meanwhile").await;
}

/// A poll shows its token each time: what keeps it is the next poll's.
async fn a_refresh_keeps_the_line_beyond_the_end_of_the_old_token() {
    let stage = Stage::with(NO_LEEWAY);
    for on in [Transport::Ws, Transport::Sse] {
        let alice = stage.user_for_seconds("alice", SOON).await;
        let dialog = unique("d");
        let mut client = alice.attach_to(on, &[&dialog]).await;
        let mut witness = alice.attach(Transport::Ws).await;
        client.ok(json!({ "type": "refresh", "token": stage.token(alice.id()).await })).await;
        // The witness has the same token and does not refresh it.
        assert_eq!(witness.ended().await.close, Some(4201));
        stage.user("bob").await.attach_to(Transport::Ws, &[&dialog]).await.say(&dialog, "after").await;
        client.next_message_is("after").await;
        assert!(seconds_left(&client) < 0.0);
    }
}
