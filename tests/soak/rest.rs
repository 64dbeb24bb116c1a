//! What a node has and holds, and whether that is what it had before its clients came.

use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::harness::stage::Stage;

/// Longest until everything has come back. What takes the longest is a WebSocket that does not answer: a ping and 10 s,
/// and then the resume window.
const COME_BACK_MAX: Duration = Duration::from_secs(45);
/// At rest is what has not changed for so long.
const STILL: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);
/// Tasks, and file descriptors, that a node may have more than before: links to Redis, the Store and other nodes come and
/// go by themselves.
const SPARE: u64 = 8;
/// Memory that a node may have taken for good since it was warm: the allocator's own, and caches that have a bound.
const SPARE_PSS_KIB: u64 = 8 * 1024;

/// What a node has and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    sessions: u64,
    connections: u64,
    queued_events: u64,
    queued_bytes: u64,
    feeds: u64,
    tasks: u64,
    fds: u64,
    pss_anon_kib: u64,
}

impl Standing {
    /// Asks a node, and the system about it.
    pub(crate) async fn of(node: &Stage) -> Self {
        let (status, metrics) = node.admin("/metrics").await;
        assert_eq!(status, 200, "{metrics}");
        let sum = |name: &str| {
            let lines = metrics.lines().filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            });
            let values: Vec<_> = lines.collect();
            assert!(!values.is_empty(), "there is no {name}");
            values.iter().sum::<f64>() as u64
        };
        let process = node.server().program().id();
        Self {
            sessions: sum("edgeway_sessions"),
            connections: sum("edgeway_connections"),
            queued_events: sum("edgeway_queue_events"),
            queued_bytes: sum("edgeway_queue_bytes"),
            feeds: sum("edgeway_feeds"),
            tasks: sum("edgeway_tasks"),
            fds: fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as u64,
            pss_anon_kib: pss_anon_kib(process),
        }
    }

    /// What is more than it was, beyond what is spared.
    pub(crate) fn more_than(&self, before: &Self) -> Vec<String> {
        let compared = [
            ("sessions", self.sessions, before.sessions, 0),
            ("connections", self.connections, before.connections, 0),
            ("queued events", self.queued_events, before.queued_events, 0),
            ("queued bytes", self.queued_bytes, before.queued_bytes, 0),
            ("feeds", self.feeds, before.feeds, 0),
            ("tasks", self.tasks, before.tasks, SPARE),
            ("file descriptors", self.fds, before.fds, SPARE),
            ("KiB of memory (PSS, anonymous)", self.pss_anon_kib, before.pss_anon_kib, SPARE_PSS_KIB),
        ];
        let more = compared.iter().filter(|(_, now, before, spare)| *now > before + spare);
        more.map(|(what, now, before, spare)| format!("{now} {what}, {before} before and {spare} spared"))
            .collect()
    }

    /// Nobody is there.
    fn is_deserted(&self) -> bool {
        self.sessions + self.connections + self.queued_events + self.feeds == 0
    }

    /// The same, but for its memory.
    fn is_like(&self, other: &Self) -> bool {
        *self == Self { pss_anon_kib: self.pss_anon_kib, ..other.clone() }
    }
}

/// The proportional set size (proc(5), `smaps_rollup`), without what is mapped from files: how much of the program's own
/// file counts depends on how many others run it.
fn pss_anon_kib(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let pss = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).unwrap();
    pss.split_whitespace().next().unwrap().parse().unwrap()
}

/// What a node is at rest: deserted, and the same for a while.
pub(crate) async fn settled(node: &Stage) -> Standing {
    let deadline = Instant::now() + COME_BACK_MAX;
    let mut standing = Standing::of(node).await;
    let mut since = Instant::now();
    while !standing.is_deserted() || since.elapsed() < STILL {
        assert!(Instant::now() < deadline, "a node does not come to rest: {standing:?}");
        sleep(PAUSE).await;
        let now = Standing::of(node).await;
        if !now.is_like(&standing) {
            since = Instant::now();
        }
        standing = now;
    }
    standing
}

/// Waits until a node has no more than it had before.
pub(crate) async fn came_to_rest(node: &Stage, before: &Standing) -> Standing {
    let deadline = Instant::now() + COME_BACK_MAX;
    loop {
        let now = Standing::of(node).await;
        let more = now.more_than(before);
        if more.is_empty() {
            return now;
        }
        assert!(
            Instant::now() < deadline,
            "{} after everybody has gone, {} has:\n{}",
            format_args!("{COME_BACK_MAX:?}"),
            node.server().address(),
            more.join("\n")
        );
        sleep(PAUSE).await;
    }
}

mod tests {
    use super::{SPARE, SPARE_PSS_KIB, Standing};

    #[test]
    fn more_than_is_spared_of_anything_is_told() {
        let before = Standing {
            sessions: 0,
            connections: 0,
            queued_events: 0,
            queued_bytes: 0,
            feeds: 0,
            tasks: 30,
            fds: 20,
            pss_anon_kib: 40_000,
        };
        assert!(before.more_than(&before).is_empty());
        let spared = Standing {
            tasks: before.tasks + SPARE,
            fds: before.fds + SPARE,
            pss_anon_kib: before.pss_anon_kib + SPARE_PSS_KIB,
            ..before.clone()
        };
        assert!(spared.more_than(&before).is_empty());
        let worse = Standing {
            sessions: 1,
            connections: 1,
            queued_events: 1,
            queued_bytes: 1,
            feeds: 1,
            tasks: spared.tasks + 1,
            fds: spared.fds + 1,
            pss_anon_kib: spared.pss_anon_kib + 1,
        };
        assert_eq!(worse.more_than(&before).len(), 8);
    }
}
