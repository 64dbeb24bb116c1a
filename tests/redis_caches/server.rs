//! A redis-server of our own, as a child process that ends with the tests.

use std::io::{BufRead, BufReader};
use std::ops::RangeInclusive;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use edgeway::adapters::outbound::redis::commands::{Config, RedisCommands};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

const PROGRAM: &str = "redis-server";
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Below those that outgoing connections get; a cluster's server also takes the port 10,000 above its own.
const PORTS: RangeInclusive<u16> = 10_000..=22_000;
/// A port may be taken: then the server ends at once.
const START_ATTEMPTS_MAX: usize = 20;

/// A running redis-server; killed when it is dropped.
pub(crate) struct RedisServer {
    port: u16,
    child: Child,
    arguments: Vec<String>,
    /// Where it may write.
    _dir: Option<TempDir>,
}

impl RedisServer {
    /// A server for one test alone: one that will break it.
    pub(crate) fn start() -> Self {
        let volatile = ["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"];
        Self::with(volatile.map(str::to_owned).to_vec(), None)
    }

    /// A cluster of one server that has all slots.
    pub(crate) fn cluster() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let arguments = ["--save", "", "--cluster-enabled", "yes", "--dir", path].map(str::to_owned);
        let cluster = Self::with(arguments.to_vec(), Some(dir));
        let mut connection = redis::Client::open(cluster.url("redis")).unwrap().get_connection().unwrap();
        redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16383).exec(&mut connection).unwrap();
        cluster
    }

    /// A Sentinel that watches over a server.
    pub(crate) fn sentinel_of(server: &Self, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sentinel.conf");
        std::fs::write(&file, format!("sentinel monitor {name} 127.0.0.1 {} 1\n", server.port)).unwrap();
        let arguments = vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
        Self::with(arguments, Some(dir))
    }

    fn with(arguments: Vec<String>, dir: Option<TempDir>) -> Self {
        for _ in 0..START_ATTEMPTS_MAX {
            let port = fastrand::u16(PORTS);
            if let Some(child) = spawn(port, &arguments) {
                return Self { port, child, arguments, _dir: dir };
            }
        }
        panic!("{PROGRAM} did not start");
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The server of all tests that run right now.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub(crate) fn config(&self) -> Config {
        static TESTS: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("test{}", TESTS.fetch_add(1, Ordering::Relaxed));
        Config { prefix, ..Config::new(self.url("redis")) }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same address again, with nothing in it.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child =
            spawn(self.port, &self.arguments).expect("nobody else takes a port that was just in use");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Fails only if it is dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// None if it ended at once: most likely the port was taken.
fn spawn(port: u16, arguments: &[String]) -> Option<Child> {
    let spawned = Command::new(PROGRAM)
        .args(arguments)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            panic!("{PROGRAM} can't be run ({error}); these tests need it: apt-get install redis-server")
        }
    };
    let stdout = child.stdout.take().unwrap();
    let (ready, is_ready) = mpsc::sync_channel(1);
    // Reads on to the end, so that the server never waits for somebody to read its log.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // What a server says, and what a Sentinel says.
            if line.contains("Ready to accept connections") || line.contains("+monitor master") {
                let _ = ready.try_send(());
            }
        }
    });
    // Ends early when the server does: then nobody can say it any more.
    if is_ready.recv_timeout(START_TIMEOUT).is_ok() {
        return Some(child);
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// One node's link to the shared server, under a prefix of its own.
pub(crate) struct Redis {
    pub(crate) commands: RedisCommands,
    pub(crate) tasks: TaskTracker,
    config: Config,
    _stop: DropGuard,
    _server: Arc<RedisServer>,
}

impl Redis {
    pub(crate) async fn new() -> Self {
        let server = RedisServer::shared();
        Self::with(server.config(), server).await
    }

    /// The link of another node to the same data.
    pub(crate) async fn other_node(&self) -> Self {
        Self::with(self.config.clone(), self._server.clone()).await
    }

    async fn with(config: Config, server: Arc<RedisServer>) -> Self {
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let commands = RedisCommands::start(&config, &tasks.clone().into(), stop.clone()).unwrap();
        commands.wait_until(true).await;
        Self { commands, tasks, config, _stop: stop.drop_guard(), _server: server }
    }

    /// A link to where nothing is.
    pub(crate) async fn nowhere() -> (RedisCommands, TaskTracker, DropGuard) {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        // Nobody listens on the discard port.
        let commands =
            RedisCommands::start(&Config::new("redis://127.0.0.1:9"), &tasks.clone().into(), stop.clone())
                .unwrap();
        (commands, tasks, stop.drop_guard())
    }

    pub(crate) async fn ttl(&self, key: &str) -> Duration {
        let millis: i64 = self.commands.query(redis::cmd("PTTL").arg(key)).await.unwrap();
        Duration::from_millis(u64::try_from(millis).expect("the key is there and expires"))
    }

    pub(crate) async fn expire(&self, key: &str) {
        self.commands.query::<()>(redis::cmd("DEL").arg(key)).await.unwrap();
    }

    pub(crate) async fn exists(&self, key: &str) -> bool {
        self.commands.query(redis::cmd("EXISTS").arg(key)).await.unwrap()
    }
}
