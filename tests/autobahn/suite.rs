//! The fuzzing client: a program in Python 2.7, run as a child.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

/// How the report calls the server.
const AGENT: &str = "Edgeway";
/// Some hundred cases with a thousand messages each.
const RUN_TIMEOUT: Duration = Duration::from_secs(90 * 60);

/// What the suite says of one case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Outcome {
    /// `OK`, `FAILED` and so on.
    pub(crate) behavior: String,
    /// The same of how the connection ended.
    #[serde(rename = "behaviorClose")]
    pub(crate) behavior_close: String,
    /// With which code the server closed, if it did.
    #[serde(rename = "remoteCloseCode")]
    pub(crate) close_code: Option<u16>,
}

/// The outcomes by case.
pub(crate) type Outcomes = BTreeMap<String, Outcome>;

/// What the environment asks for; `None`: everything.
pub(crate) fn chosen_cases() -> Option<Vec<String>> {
    let chosen = std::env::var("EDGEWAY_AUTOBAHN_CASES").ok()?;
    Some(chosen.split(',').map(|case| case.trim().to_owned()).collect())
}

/// Runs the cases, one after the other; the reports of each stay in `target/autobahn/reports`.
pub(crate) async fn run(url: &str) -> Outcomes {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/autobahn");
    let program = home.join("suite/bin/wstest");
    assert!(
        program.exists(),
        "the suite is not installed: run tests/autobahn/install.sh, or `make autobahn`"
    );
    let reports = home.join("reports");
    // Nothing of an earlier run may be taken for this one's.
    if reports.exists() {
        fs::remove_dir_all(&reports).unwrap();
    }
    let spec = write_spec(&home, &reports, url);
    let log_path = home.join("wstest.log");
    let log = File::create(&log_path).unwrap();
    let mut client = Command::new(program)
        .args(["--mode", "fuzzingclient", "--spec"])
        .arg(spec)
        .current_dir(&home)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ended = timeout(RUN_TIMEOUT, client.wait()).await.expect("the suite to come to an end").unwrap();
    assert!(ended.success(), "the suite ended with {ended}: see {}", log_path.display());
    read_outcomes(&reports)
}

fn write_spec(home: &Path, reports: &Path, url: &str) -> PathBuf {
    let cases = chosen_cases().unwrap_or_else(|| vec!["*".to_owned()]);
    let spec = serde_json::json!({
        // The client waits for a close frame rather than dropping the connection at what it doesn't like.
        "options": { "failByDrop": false },
        "outdir": reports,
        "servers": [{ "agent": AGENT, "url": url }],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let path = home.join("fuzzingclient.json");
    fs::write(&path, spec.to_string()).unwrap();
    path
}

fn read_outcomes(reports: &Path) -> Outcomes {
    let index = fs::read(reports.join("index.json")).expect("the suite's report");
    let mut agents: BTreeMap<String, Outcomes> = serde_json::from_slice(&index).unwrap();
    agents.remove(AGENT).expect("a report on this server")
}
