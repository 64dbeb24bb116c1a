//! Who may attach: tokens, tickets, refresh.

use serde_json::json;

use crate::harness::attach::{Attach, Credentials};
use crate::harness::check;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

on_every_transport! {
    a_token_that_does_not_verify_is_unauthorized,
    a_token_in_the_query_is_refused,
    a_ticket_attaches_once,
    a_ticket_that_was_never_given_is_unauthorized,
    a_refresh_takes_a_token_of_the_same_subject_only,
    a_refresh_takes_no_token_that_may_not_read,
}

once! {
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
