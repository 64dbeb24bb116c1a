//! A node dies while messages flow.

use std::time::Duration;

use crate::crowd::Crowd;
use crate::harness::nodes::Nodes;

const RATE: usize = 500;
const A_WHILE: Duration = Duration::from_secs(1);

tests! {
    a_node_that_is_killed_loses_nothing_for_those_who_go_on_at_the_other,
}

async fn a_node_that_is_killed_loses_nothing_for_those_who_go_on_at_the_other() {
    let nodes = Nodes::start().await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.goes_on(A_WHILE).await;
    nodes.a.server().program().kill();
    crowd.goes_on(2 * A_WHILE).await;
    let verdict = crowd.verdict().await;
    assert_eq!(verdict.gaps, 0, "{verdict:?}");
}
