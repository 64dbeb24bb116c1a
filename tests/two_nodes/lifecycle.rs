//! What whoever must know who can be reached reads: the lifecycle stream; and how many sessions a user may have.

use std::collections::HashMap;
use std::time::Duration;

use redis::streams::StreamRangeReply;
use serde_json::json;

use crate::harness::attach::Attach;
use crate::harness::client::Client;
use crate::harness::nodes::Nodes;
use crate::harness::poll_line::poll;
use crate::harness::runner::eventually;
use crate::harness::transport::Transport;
use crate::harness::user::User;

/// A dead node is found after 15 s, and looked for every 5 s.
const DEAD_NODE_FOUND: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(50);

tests! {
    a_session_is_told_to_attach_detach_and_end_each_once_with_how_many_others_there_are,
    polls_in_turn_and_moves_between_transports_and_nodes_are_one_attachment,
    sessions_of_a_node_that_was_killed_end_each_once,
    a_user_has_so_many_sessions_over_both_nodes,
    a_kick_ends_all_sessions_of_the_user_wherever_they_are,
}

/// One entry: event, session, others.
type Entry = (String, String, String);

fn stream(nodes: &Nodes, user: &User) -> Vec<HashMap<String, String>> {
    let mut hand = nodes.redis.by_hand();
    let all: StreamRangeReply =
        redis::cmd("XRANGE").arg("edgeway:lifecycle").arg("-").arg("+").query(&mut hand).unwrap();
    let fields = all.ids.iter().map(|entry| {
        entry
            .map
            .keys()
            .map(|name| (name.clone(), entry.get(name).unwrap()))
            .collect::<HashMap<String, String>>()
    });
    fields.filter(|fields| fields["user_id"] == user.id()).collect()
}

fn entries(nodes: &Nodes, user: &User) -> Vec<Entry> {
    let told = stream(nodes, user);
    let short = told.iter().map(|f| (f["event"].clone(), f["session"].clone(), f["others"].clone()));
    short.collect()
}

async fn told(nodes: &Nodes, user: &User, count: usize) -> Vec<Entry> {
    eventually(&format!("{count} lifecycle entries"), || async {
        let entries = entries(nodes, user);
        (entries.len() >= count).then_some(entries)
    })
    .await
}

fn entry(event: &str, session: &str, others: usize) -> Entry {
    (event.to_owned(), session.to_owned(), others.to_string())
}

async fn a_session_is_told_to_attach_detach_and_end_each_once_with_how_many_others_there_are() {
    let nodes = Nodes::with(&[("EDGEWAY__SESSION__PRESENCE_GRACE", "1s")]).await;
    let alice = nodes.user("alice");
    let first = alice.attach(Transport::Ws).await;
    let one = first.session().to_owned();
    told(&nodes, &alice, 1).await;
    let mut second = nodes.b.user(&alice).attach(Transport::Sse).await;
    let two = second.session().to_owned();
    told(&nodes, &alice, 2).await;
    let place = first.cut();
    told(&nodes, &alice, 3).await;
    let again = place.attach(Transport::Poll).await;
    told(&nodes, &alice, 4).await;
    second.ok(json!({ "type": "bye" })).await;
    told(&nodes, &alice, 5).await;
    assert_eq!(place.user.delete(again.session()).await.status, 204);
    let expected = [
        entry("attached", &one, 0),
        entry("attached", &two, 1),
        entry("detached", &one, 1),
        entry("attached", &one, 1),
        entry("ended", &two, 1),
        entry("ended", &one, 0),
    ];
    assert_eq!(told(&nodes, &alice, 6).await, expected);
    let fields = stream(&nodes, &alice);
    assert_eq!((&*fields[0]["transport"], &*fields[1]["transport"]), ("ws", "sse"));
    assert_ne!(fields[0]["node"], fields[1]["node"]);
    assert!(fields[0]["at"].ends_with('Z'), "{fields:?}");
}

async fn polls_in_turn_and_moves_between_transports_and_nodes_are_one_attachment() {
    let nodes = Nodes::with(&[("EDGEWAY__SESSION__PRESENCE_GRACE", "2s")]).await;
    let alice = nodes.user("alice");
    let there = nodes.b.user(&alice);
    let first = poll(&alice, &Attach::new(), None).await.unwrap();
    let session = first.session;
    let mut cursor = first.cursor;
    for round in 0..6 {
        let user = if round % 2 == 0 { &there } else { &alice };
        let attach = Attach::new().session(&session).cursor(&cursor);
        cursor = poll(user, &attach, Some(300)).await.unwrap().cursor;
    }
    let mut client: Option<Client> = None;
    for (round, on) in Transport::ALL.into_iter().cycle().take(6).enumerate() {
        let user = if round % 2 == 0 { &there } else { &alice };
        drop(client.take());
        client = Some(user.attach_with(on, Attach::new().session(&session).cursor(&cursor)).await);
    }
    drop(client);
    let expected = [entry("attached", &session, 0), entry("detached", &session, 0)];
    assert_eq!(told(&nodes, &alice, 2).await, expected);
}

async fn sessions_of_a_node_that_was_killed_end_each_once() {
    const EACH: usize = 3;
    let nodes = Nodes::start().await;
    let alice = nodes.user("alice");
    let mut dead = Vec::new();
    for _ in 0..EACH {
        dead.push(alice.attach(Transport::Ws).await);
    }
    let moved = nodes.at_b(dead.pop().unwrap().place());
    let living = nodes.b.user(&alice).attach(Transport::Sse).await;
    told(&nodes, &alice, EACH + 1).await;
    nodes.a.server().program().kill();
    // One of them comes back in time.
    let moved = moved.attach(Transport::Ws).await;
    let found = async {
        loop {
            let ended: Vec<Entry> =
                entries(&nodes, &alice).into_iter().filter(|entry| entry.0 == "ended").collect();
            if ended.len() >= EACH - 1 {
                return ended;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let mut ended = tokio::time::timeout(DEAD_NODE_FOUND, found).await.expect("both are told to have ended");
    let names: Vec<&str> = dead.iter().map(Client::session).collect();
    assert!(ended.iter().all(|(_, session, _)| names.contains(&&**session)), "{ended:?}");
    ended.dedup_by(|a, b| a.1 == b.1);
    assert_eq!(ended.len(), EACH - 1, "each once");
    // Whoever lives has not been touched.
    let all = entries(&nodes, &alice);
    assert_eq!(all.len(), EACH + 1 + EACH - 1, "{all:?}");
    assert!(all.iter().all(|entry| entry.0 != "detached"), "{all:?}");
    drop((living, moved));
}

async fn a_user_has_so_many_sessions_over_both_nodes() {
    const LIMIT: usize = 3;
    let nodes = Nodes::with(&[("EDGEWAY__LIMITS__SESSIONS_PER_USER", "3")]).await;
    let alice = nodes.user("alice");
    let there = nodes.b.user(&alice);
    let attaching = (0..10).map(|n| {
        let user = if n % 2 == 0 { alice.clone() } else { there.clone() };
        async move { user.try_attach(Transport::ALL[n % 3], Attach::new()).await }
    });
    let attached = futures_util::future::join_all(attaching).await;
    let (mut here, refused): (Vec<_>, Vec<_>) = attached.into_iter().partition(Result::is_ok);
    assert_eq!(here.len(), LIMIT);
    for refused in refused {
        refused.unwrap_err().assert_refused("limit_exceeded");
    }
    // What nobody reads counts as long as it can be resumed; what has ended does not.
    let place = here.pop().unwrap().unwrap().cut();
    alice.try_attach(Transport::Ws, Attach::new()).await.unwrap_err().assert_refused("limit_exceeded");
    there.attach_with(Transport::Ws, place.again()).await;
    assert_eq!(alice.delete(&place.session).await.status, 204);
    eventually("room for another", || async { alice.try_attach(Transport::Ws, Attach::new()).await.ok() })
        .await;
    nodes.user("bob").attach(Transport::Ws).await;
}

async fn a_kick_ends_all_sessions_of_the_user_wherever_they_are() {
    let nodes = Nodes::start().await;
    let alice = nodes.user("alice");
    let mut here = alice.attach_to(Transport::Ws, &["tea"]).await;
    let mut there = nodes.b.user(&alice).attach_to(Transport::Sse, &["tea"]).await;
    let detached = alice.attach_to(Transport::Ws, &["tea"]).await.cut();
    let mut bob = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    let url = format!("http://{}/admin/disconnect", nodes.b.server().admin());
    let asked = nodes.b.http().post(url).header("content-type", "application/json");
    let answer = asked.body(json!({ "user_id": alice.id() }).to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    assert_eq!(here.ended().await.close, Some(4003));
    assert_eq!(there.ended().await.goaway_reason(), "kicked");
    for place in [detached.again(), here.place().again(), there.place().again()] {
        eventually("the session to be gone", || async {
            nodes.b.user(&alice).try_attach(Transport::Poll, place.clone()).await.err()
        })
        .await
        .assert_refused("session_gone");
    }
    bob.say("tea", "who was that?").await;
    bob.next_message_is("who was that?").await;
}
