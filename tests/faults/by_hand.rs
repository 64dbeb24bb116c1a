//! What a test does to Redis by hand, and asks of nodes.

use std::time::Duration;

use crate::harness::stage::Stage;
use crate::redis_server::RedisServer;

const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls a command over a connection of its own.
pub(crate) fn call<T: redis::FromRedisValue>(server: &RedisServer, name: &str, arguments: &[&str]) -> T {
    try_call(server, name, arguments).unwrap()
}

/// The same, where it may be refused.
pub(crate) fn try_call<T: redis::FromRedisValue>(
    server: &RedisServer,
    name: &str,
    arguments: &[&str],
) -> redis::RedisResult<T> {
    redis::cmd(name).arg(arguments).query(&mut server.by_hand())
}

/// Appends to a dialog's log as another Store might, command by command, and publishes nothing. Returns epoch, offset
/// and id: the header of what would be published.
pub(crate) fn log_by_hand(server: &RedisServer, dialog: &str, event: &str) -> (String, u64, String) {
    let (log, meta) = (format!("edgeway:{{d:{dialog}}}:log"), format!("edgeway:{{d:{dialog}}}:meta"));
    let epoch: String = call(server, "HGET", &[&meta, "epoch"]);
    let offset: u64 = call(server, "HINCRBY", &[&meta, "offset", "1"]);
    let key = format!("by hand {offset}");
    let id = call(server, "XADD", &[&log, "*", "o", &offset.to_string(), "e", event, "k", &key]);
    (epoch, offset, id)
}

/// Publishes what is said to be in the log.
pub(crate) fn publish_by_hand(server: &RedisServer, dialog: &str, payload: &str) -> usize {
    call(server, "SPUBLISH", &[&format!("edgeway:{{d:{dialog}}}:live"), payload])
}

/// Waits until a node says that it is ready, or that it is not.
pub(crate) async fn readiness(node: &Stage, ready: bool) {
    let asking = async {
        while (node.admin("/readyz").await.0 == 200) != ready {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, asking).await;
    assert!(told.is_ok(), "the node should have become {}ready", if ready { "" } else { "un" });
}

/// Waits until a metric of a node has at least this value.
pub(crate) async fn metric_reaches(node: &Stage, name_and_labels: &str, least: u64) {
    let asking = async {
        loop {
            let (_, metrics) = node.admin("/metrics").await;
            let line = metrics.lines().find_map(|line| line.strip_prefix(name_and_labels));
            if line.and_then(|value| value.trim().parse::<u64>().ok()).is_some_and(|value| value >= least) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, asking).await;
    assert!(reached.is_ok(), "{name_and_labels} should have reached {least}");
}
