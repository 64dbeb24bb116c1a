//! A node that has no file descriptors left.

use tokio::net::TcpStream;

use crate::harness::client::numbered;
use crate::harness::nodes::Nodes;
use crate::harness::runner::eventually;
use crate::harness::transport::Transport;

tests! {
    without_descriptors_a_node_serves_whom_it_has_and_later_takes_others_again,
}

async fn without_descriptors_a_node_serves_whom_it_has_and_later_takes_others_again() {
    /// Room for so many connections more; it may need a few for itself.
    const LEFT: u64 = 10;
    const CROWD: usize = 50;
    let nodes = Nodes::start().await;
    let (alice, bob) = (nodes.user("alice"), nodes.user_at_b("bob"));
    let mut here = alice.attach_to(Transport::Ws, &["tea"]).await;
    let mut there = bob.attach_to(Transport::Sse, &["tea"]).await;
    here.say("tea", "before").await;
    there.next_message_is("before").await;

    nodes.a.server().program().leave_descriptors(LEFT);
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        // The kernel takes them; the node can't.
        crowd.push(TcpStream::connect(nodes.a.server().address()).await.unwrap());
    }
    eventually("the node to run out of descriptors", || async {
        nodes.log_of("a").contains("Too many open files").then_some(())
    })
    .await;
    let texts = numbered("meanwhile", 20);
    here.say_all("tea", &texts).await;
    assert_eq!(there.texts(texts.len()).await, texts);
    here.next_message_is("before").await;
    assert_eq!(here.texts(texts.len()).await, texts);

    drop(crowd);
    let mut late = nodes.user("carol").attach_to(Transport::Poll, &["tea"]).await;
    here.say("tea", "after").await;
    for client in [&mut late, &mut here, &mut there] {
        client.next_message_is("after").await;
    }
    assert_eq!(nodes.a.admin("/livez").await.0, 200);
}
