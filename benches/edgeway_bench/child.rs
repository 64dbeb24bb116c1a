//! Servers under test: children of this process, which end with it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader, sink};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::posts::Manner;
use crate::process::{cpu_time, pss_bytes};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A server, and other processes whose CPU time counts as its own.
pub(crate) struct Server {
    /// Where clients go.
    pub(crate) address: SocketAddr,
    /// Where events are given to it; the address itself if it has no place of its own for that.
    pub(crate) control: SocketAddr,
    /// Whether credentials are asked for.
    pub(crate) wants_token: bool,
    /// How events are posted to it, if they are not given to its own door.
    pub(crate) posted: Option<Manner>,
    pids: Vec<u32>,
    /// Killed when they are dropped.
    _children: Vec<Child>,
}

impl Server {
    pub(crate) fn new(
        name: &'static str,
        address: SocketAddr,
        control: SocketAddr,
        children: Vec<Child>,
        pids: Vec<u32>,
    ) -> Self {
        let wants_token = name == "edgeway" || name == "edgeway+redis";
        Self { address, control, wants_token, posted: None, pids, _children: children }
    }

    /// This very program in another part. It says `ready ADDRESS CONTROL` when it is.
    pub(crate) async fn start_self(
        name: &'static str,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).envs(env.iter().copied());
        let (child, line) = start(command, "ready").await.with_context(|| format!("starting {name}"))?;
        let mut words = line.split(' ').skip(1).map(str::parse);
        let mut next = || words.next().context("no address").and_then(|word| Ok(word?));
        let (address, control) = (next()?, next()?);
        let pid = child.id().context("it has ended at once")?;
        Ok(Self::new(name, address, control, vec![child], vec![pid]))
    }

    /// The same, given events by HTTP.
    pub(crate) fn posted(self, manner: Manner) -> Self {
        Self { posted: Some(manner), ..self }
    }

    /// Counts another process in.
    pub(crate) fn with(mut self, child: Child) -> anyhow::Result<Self> {
        self.pids.push(child.id().context("it has ended")?);
        self._children.push(child);
        Ok(self)
    }

    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.pids.iter().map(|pid| cpu_time(*pid)).sum()
    }

    /// Of each process by itself, in the order they were started.
    pub(crate) fn cpu_of_each(&self) -> anyhow::Result<Vec<Duration>> {
        self.pids.iter().map(|pid| cpu_time(*pid)).collect()
    }

    /// Of the server alone, without what it was started with.
    pub(crate) fn own_pss(&self) -> anyhow::Result<u64> {
        pss_bytes(*self.pids.first().context("there is no server")?)
    }

    pub(crate) fn pss(&self) -> anyhow::Result<u64> {
        self.pids.iter().map(|pid| pss_bytes(*pid)).sum()
    }
}

/// Starts a program and waits for a line that has this in it.
pub(crate) async fn start(mut command: Command, sign: &str) -> anyhow::Result<(Child, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("no such program")?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let line = timeout(START_TIMEOUT, async {
        loop {
            let line = lines.next_line().await?.context("it has ended before it was ready")?;
            if line.contains(sign) {
                return anyhow::Ok(line);
            }
        }
    });
    let line = line.await.context("it was not ready in time")??;
    // Read on: a pipe that nobody empties would hold it up once it is full.
    TaskTracker::new().spawn(async move { tokio::io::copy(&mut lines.into_inner(), &mut sink()).await });
    Ok((child, line))
}
