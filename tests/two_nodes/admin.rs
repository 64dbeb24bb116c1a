//! What operators and load balancers are told.

use std::time::Duration;

use serde_json::Value;

use crate::harness::nodes::Nodes;
use crate::harness::transport::Transport;

tests! {
    the_admin_listener_tells_of_sessions_and_counts,
    a_node_is_not_ready_before_its_bus_and_its_store_have_answered,
    a_node_without_its_bus_is_alive_but_not_ready_and_recovers,
}

async fn the_admin_listener_tells_of_sessions_and_counts() {
    let nodes = Nodes::start().await;
    let _client = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    for path in ["/livez", "/healthz"] {
        assert_eq!(nodes.a.admin(path).await, (200, "ok\n".to_owned()));
    }
    let (status, ready) = nodes.a.admin("/readyz").await;
    assert_eq!((status, &*ready), (200, r#"{"failing":[],"ready":true}"#));
    let (_, census) = nodes.a.admin("/debug/sessions").await;
    assert_eq!(census, r#"{"attached":{"poll":0,"sse":0,"ws":1},"detached":0}"#);
    let (_, metrics) = nodes.a.admin("/metrics").await;
    assert!(metrics.contains("edgeway_attaches_total{outcome=\"new\",transport=\"ws\"} 1"), "{metrics}");
    assert_eq!(nodes.a.admin("/v1/poll").await.0, 404);
    // Clients see none of it.
    let public = nodes.a.http().get(nodes.a.url("/metrics")).send().await.unwrap();
    assert_eq!(public.status(), 404);
}

async fn a_node_is_not_ready_before_its_bus_and_its_store_have_answered() {
    let nodes = Nodes::start().await;
    // Nobody listens on the discard port.
    let nowhere =
        [("EDGEWAY__BUS__URL", "redis://127.0.0.1:9"), ("EDGEWAY__STORE__ENDPOINT", "http://127.0.0.1:9")];
    let node = nodes.another("c", &nowhere);
    let (status, answer) = node.admin("/readyz").await;
    assert_eq!(status, 503, "{answer}");
    for check in ["bus", "store"] {
        assert!(answer.contains(&format!("\"check\":\"{check}\"")), "{answer}");
    }
    assert_eq!(node.admin("/livez").await.0, 200);
}

async fn a_node_without_its_bus_is_alive_but_not_ready_and_recovers() {
    /// A wedged link is found within 10 s.
    const PATIENCE: Duration = Duration::from_secs(25);
    const PAUSE: Duration = Duration::from_millis(100);
    let nodes = Nodes::start().await;
    let until = |ready: bool| {
        let nodes = &nodes;
        async move {
            let asking = async {
                loop {
                    let (status, answer) = nodes.a.admin("/readyz").await;
                    if (status == 200) == ready {
                        return serde_json::from_str::<Value>(&answer).unwrap();
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::time::timeout(PATIENCE, asking).await.unwrap()
        }
    };
    nodes.redis.kill();
    let answer = until(false).await;
    assert_eq!(answer["ready"], false, "{answer}");
    assert_eq!(answer["failing"][0]["check"], "bus", "{answer}");
    assert_eq!(nodes.a.admin("/livez").await.0, 200);
    nodes.redis.restart();
    until(true).await;
}
