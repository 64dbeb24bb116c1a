//! A process of the real binary.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of its log is shown when a test fails.
const LOG_TAIL_LINES: usize = 25;

/// `edgeway`, without variables of whoever runs the tests.
pub(crate) fn edgeway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EDGEWAY") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A running process; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Mutex<Child>,
    log: PathBuf,
    first_line: String,
}

impl Program {
    /// Starts it, and waits for its first line on standard output.
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (found, first_line) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = found.try_send(line);
            }
        });
        let first_line = first_line.recv_timeout(START_TIMEOUT);
        let program = Self {
            child: Mutex::new(child),
            log: log.into(),
            first_line: first_line.clone().unwrap_or_default(),
        };
        assert!(first_line.is_ok(), "{command:?} printed nothing");
        program
    }

    /// What it said first.
    pub(crate) fn first_line(&self) -> &str {
        &self.first_line
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// As `kill -9` does it.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended before.
        let _ = child.kill();
        child.wait().unwrap();
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends a signal by its name: `-STOP`, `-CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.lock().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Leaves room for so many descriptors more than it has open.
    pub(crate) fn leave_descriptors(&self, count: u64) {
        let id = self.child.lock().unwrap().id();
        let open = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count() as u64;
        let pid = Pid::from_raw(id.cast_signed()).unwrap();
        let limit = Rlimit { current: Some(open + count), ..getrlimit(Resource::Nofile) };
        prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read(&self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}\n{}, last of {} lines:", self.first_line, self.log.display(), lines.len());
            for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
                eprintln!("    {line}");
            }
        }
    }
}
