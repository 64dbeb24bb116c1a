//! The server under test: the real binary, as a child process that can't outlive the tests.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest that a server may take until it prints its URL.
const START_SECONDS: u64 = 30;
/// How much of a server's log a failed test shows.
const LOG_TAIL_LINES: usize = 25;

/// Starts the server and ends it when standard input ends: when this process drops it, exits, or is killed. A server
/// in a `static` is never dropped, and a test binary can die of a signal; neither may leave a process behind.
const WATCHDOG: &str = r#"
trap "" INT HUP
"$@" </dev/null & server=$!
exec >/dev/null 2>&1
cat
kill -9 "$server"; wait "$server"
[ -n "$EDGEWAY_TEST_KEEP" ] || rm -rf "$EDGEWAY_TEST_DIRECTORY"
"#;

/// Settings that every server here has: a free admin port, and rates that a test doesn't run into by being quick.
const BASE: [(&str, &str); 4] = [
    ("EDGEWAY__ADMIN_LISTEN", "127.0.0.1:0"),
    ("EDGEWAY__LIMITS__COMMANDS_PER_SECOND", "100000"),
    ("EDGEWAY__LIMITS__SENDS_PER_SECOND", "100000"),
    ("EDGEWAY__LIMITS__CONNECTS_PER_SECOND_PER_IP", "100000"),
];

/// Settings on top of [`BASE`], as environment variables.
pub(crate) type Settings = &'static [(&'static str, &'static str)];

/// Servers that were started, or why they could not be: a second attempt would take as long and end the same.
static RUNNING: Mutex<Option<Started>> = Mutex::new(None);

type Started = HashMap<Settings, Result<Arc<Server>, String>>;

/// One running `edgeway dev`.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    directory: PathBuf,
    /// The shell that watches over the server; its standard input is what keeps the server alive.
    _watchdog: Child,
}

impl Server {
    /// The server with these settings; all tests that want the same settings share it.
    pub(crate) fn with(settings: Settings) -> Arc<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.get_or_insert_default();
        let server = running.entry(settings).or_insert_with(|| Self::start(settings).map(Arc::new)).clone();
        server.unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Host and port of the public listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn start(settings: Settings) -> Result<Self, String> {
        let directory = fresh_directory();
        let log = |name: &str| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(directory.join(name))
                .expect("a log can be made in the server's directory")
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", WATCHDOG, "edgeway-watchdog", env!("CARGO_BIN_EXE_edgeway")])
            .args(["dev", "--listen", "127.0.0.1:0"])
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log("stderr.log"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("EDGEWAY__") {
                command.env_remove(name);
            }
        }
        command.env("EDGEWAY_TEST_DIRECTORY", &directory);
        command.envs(BASE).envs(settings.iter().copied());
        let mut watchdog = command.spawn().expect("`sh` starts: the suite needs a POSIX shell");

        let stdout = BufReader::new(watchdog.stdout.take().expect("stdout is piped"));
        let (found, address) = sync_channel(1);
        let copy = log("stdout.log");
        std::thread::Builder::new()
            .name("server-stdout".into())
            .spawn(move || watch_stdout(stdout, copy, &found))
            .expect("a thread starts");
        let Ok(address) = address.recv_timeout(Duration::from_secs(START_SECONDS)) else {
            let log = log_tail(&directory);
            drop(watchdog.stdin.take());
            // It ends with its standard input; how is of no interest.
            let _ = watchdog.wait();
            return Err(format!(
                "`edgeway dev --listen 127.0.0.1:0` with {settings:?} exited, or printed no http://127.0.0.1:PORT \
                 within {START_SECONDS} s.\n{log}"
            ));
        };
        Ok(Self { address, directory, _watchdog: watchdog })
    }
}

fn fresh_directory() -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("transports");
    fs::create_dir_all(&parent).expect("cargo's directory for tests is writable");
    tempfile::Builder::new()
        .prefix("server-")
        .tempdir_in(parent)
        .expect("cargo's directory for tests is writable")
        .keep()
}

/// Looks for the URL, and goes on reading so that the server never waits for a full pipe.
fn watch_stdout(stdout: impl BufRead, mut copy: File, found: &SyncSender<SocketAddr>) {
    let mut looking = Some(found);
    for line in stdout.lines() {
        let Ok(line) = line else { return };
        // A log that can't be written must not stop the server.
        let _ = writeln!(copy, "{line}");
        if let Some(address) = listening_address(&line)
            && let Some(found) = looking.take()
        {
            let _ = found.send(address);
        }
    }
}

/// The first `http://127.0.0.1:PORT` of a line.
fn listening_address(line: &str) -> Option<SocketAddr> {
    line.match_indices("http://127.0.0.1:").find_map(|(at, _)| {
        let rest = &line[at + "http://".len()..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
        let address: SocketAddr = rest[..end].trim_end_matches(['.', ':']).parse().ok()?;
        (address.port() != 0).then_some(address)
    })
}

/// The end of every running server's log: which of them a test talked to, the test knows.
pub(crate) fn log_tails() -> String {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = String::new();
    let started =
        running.iter().flatten().filter_map(|(settings, server)| Some((settings, server.as_ref().ok()?)));
    for (settings, server) in started {
        let _ = writeln!(text, "server {} with {settings:?}:", server.address);
        text.push_str(&log_tail(&server.directory));
    }
    text
}

fn log_tail(directory: &Path) -> String {
    let mut text = String::new();
    for name in ["stdout.log", "stderr.log"] {
        let log = fs::read(directory.join(name)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let _ = writeln!(text, "  {name}, last of {} lines:", lines.len());
        for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_found_wherever_it_stands_in_the_line() {
        let expected = "127.0.0.1:4711".parse().ok();
        for line in [
            "http://127.0.0.1:4711/",
            "Edgeway is ready: http://127.0.0.1:4711",
            "\u{1b}[1mhttp://127.0.0.1:4711/\u{1b}[0m, the demo",
            r#"{"url":"http://127.0.0.1:4711","admin":"http://127.0.0.1:4712"}"#,
            "open http://127.0.0.1:4711.",
            "listen http://127.0.0.1:0 became http://127.0.0.1:4711",
        ] {
            assert_eq!(listening_address(line), expected, "{line}");
        }
        for line in
            ["", "http://localhost:80", "http://127.0.0.1:", "http://127.0.0.1:0/", "http://127.0.0.1:99999"]
        {
            assert_eq!(listening_address(line), None, "{line}");
        }
    }
}
