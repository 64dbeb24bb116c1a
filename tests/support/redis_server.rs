//! A redis-server of our own, as a child process that ends with the tests.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use tempfile::TempDir;

const PROGRAM: &str = "redis-server";
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// A port that was free may be taken a moment later.
const START_ATTEMPTS_MAX: usize = 5;

/// A running redis-server on a loopback port; killed when it is dropped.
pub(crate) struct RedisServer {
    port: u16,
    child: Mutex<Child>,
    arguments: Vec<String>,
    /// Where it may write.
    _dir: TempDir,
}

impl RedisServer {
    /// A server that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        Self::with(&["--enable-debug-command", "yes"])
    }

    /// A server that forms a cluster with others. Slots and acquaintances are the test's business.
    pub(crate) fn of_cluster() -> Self {
        Self::with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"])
    }

    /// A Sentinel that watches over a server, and takes a second to find out that it is gone. So many must agree.
    pub(crate) fn sentinel_of(server: &Self, name: &str, quorum: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sentinel.conf");
        let port = server.port;
        let text = format!(
            "sentinel monitor {name} 127.0.0.1 {port} {quorum}\nsentinel down-after-milliseconds {name} 1000\n\
             sentinel failover-timeout {name} 3000\n"
        );
        std::fs::write(&file, text).unwrap();
        Self::started(vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()], dir)
    }

    /// Speaks TLS as well from now on, with this certificate and key, on the port that is returned.
    pub(crate) fn speak_tls(&self, cert_file: &Path, key_file: &Path) -> u16 {
        let mut last = Ok(());
        for _ in 0..START_ATTEMPTS_MAX {
            let port = free_port();
            let mut set = redis::cmd("CONFIG");
            set.arg("SET").arg("tls-auth-clients").arg("no").arg("tls-port").arg(port);
            set.arg("tls-cert-file").arg(cert_file.to_str()).arg("tls-key-file").arg(key_file.to_str());
            last = set.exec(&mut self.by_hand());
            if last.is_ok() {
                return port;
            }
        }
        panic!("{PROGRAM} does not speak TLS: {last:?}");
    }

    fn with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let volatile = ["--save", "", "--appendonly", "no", "--dir", path];
        Self::started(volatile.iter().chain(arguments).map(|&text| text.to_owned()).collect(), dir)
    }

    fn started(arguments: Vec<String>, dir: TempDir) -> Self {
        for _ in 0..START_ATTEMPTS_MAX {
            let port = free_port();
            if let Some(child) = spawn(port, &arguments) {
                return Self { port, child: Mutex::new(child), arguments, _dir: dir };
            }
        }
        panic!("{PROGRAM} did not start");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection of the test's own, to do by hand what others do by program.
    pub(crate) fn by_hand(&self) -> redis::Connection {
        self.try_by_hand().unwrap()
    }

    /// The same, with a server that may just be closing connections.
    ///
    /// # Errors
    /// It did.
    pub(crate) fn try_by_hand(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap().get_connection()
    }

    /// As `kill -9` does it.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The same address again, with nothing in it.
    pub(crate) fn restart(&self) {
        self.kill();
        *self.child.lock().unwrap() =
            spawn(self.port, &self.arguments).expect("nobody else takes a port that was just in use");
    }

    /// Sends `-STOP`, `-CONT` and the like.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.lock().unwrap().id().to_string();
        assert!(Command::new("kill").arg(signal).arg(id).status().unwrap().success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Of a cluster's server, the port for its peers is 10,000 above.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() % 20_000 + 10_000
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
