//! What two nodes do as one.

use serde_json::{Value, json};

use crate::harness::attach::{Attach, Credentials};
use crate::harness::client::{numbered, send};
use crate::harness::nodes::Nodes;
use crate::harness::transport::Transport;

tests! {
    a_message_sent_at_one_node_arrives_at_the_other_with_the_same_offset,
    a_send_repeated_at_the_other_node_is_one_message,
    a_ticket_of_one_node_is_good_once_at_the_other,
    presence_is_told_across_nodes,
    typing_is_told_across_nodes,
}

fn with_presence(dialog: &str) -> Value {
    json!({ "type": "subscribe", "dialogs": [dialog], "presence": true })
}

async fn a_message_sent_at_one_node_arrives_at_the_other_with_the_same_offset() {
    let nodes = Nodes::start().await;
    let mut alice = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    for on in Transport::ALL {
        let mut bob = nodes.user_at_b("bob").attach_to(on, &["tea"]).await;
        assert_ne!(alice.welcome()["node"], bob.welcome()["node"]);
        let texts = numbered(&on.to_string(), 20);
        alice.say_all("tea", &texts).await;
        for text in texts {
            let (mut here, mut there) =
                (alice.next_message_is(&text).await, bob.next_message_is(&text).await);
            assert_eq!(here["offset"], there["offset"]);
            // Bookmarks are each session's own.
            here["cursor"].take();
            there["cursor"].take();
            assert_eq!(here, there);
        }
    }
}

async fn a_send_repeated_at_the_other_node_is_one_message() {
    let nodes = Nodes::start().await;
    let alice = nodes.user("alice");
    let mut here = alice.attach_to(Transport::Ws, &["tea"]).await;
    let mut there = nodes.b.user(&alice).attach_to(Transport::Ws, &["tea"]).await;
    for round in 0..10 {
        let text = format!("round {round}");
        let command = send("tea", &format!("c{round}"), &text);
        // At the same time, and once more afterwards.
        let (first, second) = tokio::join!(here.ok(command.clone()), there.ok(command.clone()));
        let third = there.ok(command).await;
        assert_eq!(first["message_id"], second["message_id"]);
        assert_eq!(first["message_id"], third["message_id"]);
        assert_eq!(third["duplicate"], true);
        let message = here.next_message_is(&text).await;
        assert_eq!(message["offset"], round + 1, "one message a round: {message}");
        there.next_message_is(&text).await;
    }
    there.refused(send("tea", "c0", "something else"), "conflict").await;
}

async fn a_ticket_of_one_node_is_good_once_at_the_other() {
    let nodes = Nodes::start().await;
    let alice = nodes.user("alice");
    let ticket = alice.ticket().await;
    let by_ticket = Attach::new().credentials(Credentials::Ticket(ticket));
    let there = nodes.b.user(&alice);
    let mut client = there.attach_with(Transport::Ws, by_ticket.clone()).await;
    client.ok(json!({ "type": "ping" })).await;
    alice.try_attach(Transport::Ws, by_ticket).await.unwrap_err().assert_refused("unauthorized");
}

async fn presence_is_told_across_nodes() {
    let nodes = Nodes::start().await;
    let mut alice = nodes.user("alice").attach(Transport::Ws).await;
    alice.ok(with_presence("tea")).await;
    let mut bob = nodes.user_at_b("bob").attach(Transport::Ws).await;
    let bobs_id = bob.user().id().to_owned();
    bob.ok(with_presence("tea")).await;
    let event = alice.event_where("bob's presence", |e| e["type"] == "presence").await;
    assert_eq!(event["user_id"], bobs_id.as_str(), "{event}");
    assert_eq!(event["state"], "online", "{event}");
    bob.ok(json!({ "type": "bye" })).await;
    let event = alice.event_where("bob's presence", |e| e["type"] == "presence").await;
    assert_eq!(event["state"], "offline", "{event}");
}

async fn typing_is_told_across_nodes() {
    let nodes = Nodes::start().await;
    let mut alice = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let mut bob = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    bob.ok(json!({ "type": "typing", "dialog_id": "tea", "state": "started" })).await;
    let event = alice.event_of("typing").await;
    assert_eq!(event["user_id"], bob.user().id(), "{event}");
}
