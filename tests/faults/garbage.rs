//! What nobody should have written, on channels and in logs, while messages flow.

use std::time::Duration;

use crate::by_hand::{log_by_hand, metric_reaches, publish_by_hand};
use crate::crowd::Crowd;
use crate::harness::nodes::Nodes;

const RATE: usize = 300;
const A_WHILE: Duration = Duration::from_millis(500);

tests! {
    garbage_is_counted_told_once_per_kind_and_skipped,
}

async fn garbage_is_counted_told_once_per_kind_and_skipped() {
    let nodes = Nodes::start().await;
    let crowd = Crowd::begin(&nodes, RATE).await;
    crowd.goes_on(A_WHILE).await;
    let huge = "x".repeat(2 << 20);
    let wrong_headers = ["", "{}", "no header\n{}", "e one 1-0\n{}", "e 1 1-0 more\n{}", &huge];
    let of_logs = [
        "not json",
        "[]",
        "{}",
        r#"{"type":"x.other","dialog_id":"elsewhere","data":1}"#,
        r#"{"type":"message_new","dialog_id":"tea","message":{"seq":"one"}}"#,
        r#"{"type":7}"#,
        "\u{0}",
    ];
    for _ in 0..3 {
        for message in wrong_headers {
            publish_by_hand(&nodes.redis, "tea", message);
        }
        publish_by_hand(&nodes.redis, "tea", &format!("-\n{huge}"));
        publish_by_hand(&nodes.redis, "tea", "-\nnot json");
        publish_by_hand(&nodes.redis, "tea", "-\n{\"type\":\"typing\"}");
        // What has a good header and is not in the log.
        publish_by_hand(&nodes.redis, "tea", "another-epoch 1 1-0\n{\"type\":\"x.a\",\"dialog_id\":\"tea\"}");
        crowd.goes_on(A_WHILE / 5).await;
    }
    // What is logged has an offset, and is passed over all the same. Nobody writes to this dialog: by hand and by
    // script at the same time, offsets and order would not agree.
    let mut watcher =
        nodes.user("watcher").attach_to(crate::harness::transport::Transport::Ws, &["quiet"]).await;
    for event in of_logs {
        let (epoch, offset, id) = log_by_hand(&nodes.redis, "quiet", event);
        publish_by_hand(&nodes.redis, "quiet", &format!("{epoch} {offset} {id}\n{event}"));
        log_by_hand(&nodes.redis, "quiet", event);
    }
    log_by_hand(&nodes.redis, "quiet", &huge);
    nodes
        .user_at_b("writer")
        .attach(crate::harness::transport::Transport::Ws)
        .await
        .say("quiet", "at last")
        .await;
    let last = watcher.next_message_is("at last").await;
    assert_eq!(last["offset"], 2 * of_logs.len() as u64 + 2, "{last}");
    for (kind, least) in [("wrong_header", 18), ("too_large", 4), ("not_json", 5), ("wrong_shape", 11)] {
        let name = format!("edgeway_bus_payloads_skipped_total{{kind=\"{kind}\"}}");
        metric_reaches(&nodes.a, &name, least).await;
        let log = nodes.log_of("a");
        let told = log.lines().filter(|line| line.contains("payload skipped") && line.contains(kind)).count();
        assert_eq!(told, 1, "{kind} is told once");
    }
    let verdict = crowd.verdict().await;
    assert_eq!((verdict.gaps, verdict.repeats), (0, 0), "{verdict:?}");
}
