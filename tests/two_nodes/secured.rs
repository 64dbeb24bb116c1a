//! A Redis behind TLS that knows who may do what.

use serde_json::json;

use crate::authority::Authority;
use crate::harness::attach::{Attach, Credentials};
use crate::harness::client::send;
use crate::harness::nodes::Nodes;
use crate::harness::runner::eventually;
use crate::harness::transport::Transport;
use crate::redis_server::RedisServer;

/// With what a URL must not have in it as it is.
const PASSWORD: &str = "p@ss/w:rd";
const PASSWORD_IN_URL: &str = "p%40ss%2Fw%3Ard";

tests! {
    all_that_two_nodes_do_needs_no_more_rights_than_are_documented,
    a_certificate_of_an_authority_that_is_not_trusted_is_not_spoken_to,
    a_wrong_password_is_not_let_in_and_not_logged,
}

/// Nodes and a Store that reach Redis by TLS, at this port, as the user of the operator's guide.
async fn secured(authority: &Authority) -> (Nodes, u16) {
    let redis = RedisServer::start();
    let port = redis.speak_tls(&authority.file("cert.pem"), &authority.file("key.pem"));
    let guide = include_str!("../../docs/operations.md");
    let rule = guide.lines().find(|line| line.starts_with("ACL SETUSER edgeway ")).expect("it is documented");
    let rule = rule.replace("PASSWORD", PASSWORD);
    let mut words = rule.split(' ');
    let mut set = redis::cmd(words.next().unwrap());
    for word in words {
        set.arg(word);
    }
    set.exec(&mut redis.by_hand()).unwrap();
    let bus = format!("rediss://edgeway:{PASSWORD_IN_URL}@127.0.0.1:{port}");
    (Nodes::on_server(redis, &bus, &[("SSL_CERT_FILE", &authority.ca_file())]).await, port)
}

/// Who is connected to Redis: a user and a port each, but for the test itself.
fn connected(hand: &mut redis::Connection) -> Vec<(String, u16)> {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(hand).unwrap();
    let field = |line: &str, name: &str| {
        let value = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        value.unwrap().to_owned()
    };
    let by_hand = |line: &&str| field(line, "cmd") == "client|list";
    let others = list.lines().filter(|line| !by_hand(line));
    let port = |line: &str| field(line, "laddr").rsplit_once(':').unwrap().1.parse().unwrap();
    others.map(|line| (field(line, "user"), port(line))).collect()
}

/// What was refused to whom.
fn denied(hand: &mut redis::Connection) -> Vec<redis::Value> {
    redis::cmd("ACL").arg("LOG").query(hand).unwrap()
}

async fn all_that_two_nodes_do_needs_no_more_rights_than_are_documented() {
    let authority = Authority::new();
    let (nodes, port) = secured(&authority).await;
    let (alice, bob) = (nodes.user("alice"), nodes.user_at_b("bob"));
    let mut here = alice.attach_to(Transport::Ws, &["tea"]).await;
    let mut there = bob.attach(Transport::Sse).await;
    there.ok(json!({ "type": "subscribe", "dialogs": ["tea"], "presence": true })).await;

    let command = send("tea", "c1", "hello");
    let first = here.ok(command.clone()).await;
    assert_eq!(nodes.b.user(&alice).attach(Transport::Ws).await.ok(command).await["duplicate"], true);
    assert_eq!(there.next_message_is("hello").await["message"]["message_id"], first["message_id"]);
    here.ok(json!({ "type": "typing", "dialog_id": "tea", "state": "started" })).await;
    assert_eq!(there.event_of("typing").await["user_id"], alice.id());
    here.ok(json!({ "type": "read_upto", "dialog_id": "tea", "seq": 1 })).await;
    there.event_of("receipt").await;
    here.ok(json!({ "type": "subscribe", "dialogs": ["tea"], "presence": true })).await;
    assert_eq!(there.event_of("presence").await["state"], "online");
    here.ok(json!({ "type": "presence", "dialog_id": "tea" })).await;

    let ticket = Attach::new().credentials(Credentials::Ticket(alice.ticket().await));
    nodes.b.user(&alice).attach_with(Transport::Ws, ticket).await;
    here.next_message_is("hello").await;
    let mut moved = nodes.at_b(here.cut()).attach(Transport::Ws).await;
    assert_eq!(moved.resume(), "rebuilt");
    there.say("tea", "again").await;
    moved.next_message_is("again").await;
    // From this node a poll is handed on to the one where the session is.
    let relayed = nodes.a.user(&bob).attach_with(Transport::Poll, there.cut().again()).await;
    assert_eq!(relayed.resume(), "resumed");
    moved.ok(json!({ "type": "bye" })).await;

    let mut hand = nodes.redis.by_hand();
    assert_eq!(denied(&mut hand), []);
    let connected = connected(&mut hand);
    assert!(connected.len() >= 5, "two links of each node, and one of the Store: {connected:?}");
    let by_tls = ("edgeway".to_owned(), port);
    assert!(connected.iter().all(|one| *one == by_tls), "{connected:?}");
}

/// A node that is there, has tried to reach Redis, and says that it is not ready.
async fn is_refused(nodes: &Nodes, name: &str, settings: &[(&str, &str)]) {
    let node = nodes.another(name, settings);
    eventually("an attempt to connect", || async {
        nodes.log_of(name).contains("Redis does not answer").then_some(())
    })
    .await;
    let (status, answer) = node.admin("/readyz").await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains(r#""check":"bus""#), "{answer}");
}

async fn a_certificate_of_an_authority_that_is_not_trusted_is_not_spoken_to() {
    let authority = Authority::new();
    let (nodes, _) = secured(&authority).await;
    let (somebody_else, ours) = (Authority::new().ca_file(), authority.ca_file());
    is_refused(&nodes, "c", &[("SSL_CERT_FILE", &somebody_else)]).await;
    // It is for nothing else: the same with the right one comes to be ready.
    let node = nodes.another("d", &[("SSL_CERT_FILE", &ours)]);
    eventually("the node to be ready", || async { (node.admin("/readyz").await.0 == 200).then_some(()) })
        .await;
}

async fn a_wrong_password_is_not_let_in_and_not_logged() {
    let authority = Authority::new();
    let (nodes, port) = secured(&authority).await;
    let mut hand = nodes.redis.by_hand();
    assert_eq!(denied(&mut hand), []);
    let wrong = format!("rediss://edgeway:{PASSWORD_IN_URL}-but-wrong@127.0.0.1:{port}");
    let ours = authority.ca_file();
    is_refused(&nodes, "c", &[("SSL_CERT_FILE", &ours), ("EDGEWAY__BUS__URL", &wrong)]).await;
    assert!(!denied(&mut hand).is_empty(), "Redis has seen the attempt");
    for program in ["a", "b", "c", "store"] {
        let log = nodes.log_of(program);
        assert!(![PASSWORD, PASSWORD_IN_URL].iter().any(|secret| log.contains(secret)), "{log}");
    }
}
