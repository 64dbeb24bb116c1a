//! What scenarios share: the floor, the gateway, tokens.

use std::time::Duration;

use crate::child::Server;
use crate::process;
use crate::report::Report;
use crate::tokens::Tokens;

/// How long anything may take before a run is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The world of a run.
pub(crate) struct Setting {
    pub(crate) tokens: Tokens,
    pub(crate) report: Report,
    /// Divides the number of clients and rounds, for a quick look.
    pub(crate) divide: usize,
}

impl Setting {
    pub(crate) async fn floor(&self) -> anyhow::Result<Server> {
        Server::start_self("floor", &["floor"], &[]).await
    }

    /// One that sends heartbeats.
    pub(crate) async fn pinging_floor(&self) -> anyhow::Result<Server> {
        Server::start_self("floor", &["floor", "--pings"], &[]).await
    }

    pub(crate) async fn gateway(&self) -> anyhow::Result<Server> {
        self.gateway_with(&[]).await
    }

    pub(crate) async fn gateway_with(&self, env: &[(&str, &str)]) -> anyhow::Result<Server> {
        Server::start_self("edgeway", &["gateway", "--keys", self.tokens.path()], env).await
    }

    pub(crate) async fn gateway_for(&self, tokens: &Tokens) -> anyhow::Result<Server> {
        Server::start_self("edgeway", &["gateway", "--keys", tokens.path()], &[]).await
    }

    /// On a Redis whose CPU time counts.
    pub(crate) async fn gateway_on_redis(&self) -> anyhow::Result<(Server, String)> {
        let (redis, url) = crate::redis::start().await?;
        let arguments = ["gateway", "--keys", self.tokens.path(), "--redis", &url];
        let server = Server::start_self("edgeway+redis", &arguments, &[]).await?.with(redis)?;
        Ok((server, url))
    }

    /// So many clients, or fewer if it is to be quick, or if there are not enough files for them.
    pub(crate) fn clients(&self, wanted: usize) -> usize {
        let files = usize::try_from(process::raise_file_limit().unwrap_or(1024)).unwrap_or(usize::MAX);
        (wanted / self.divide).clamp(1, (files / 2).saturating_sub(200).max(1))
    }
}

/// Runs two measurements in turns, so that whatever else the machine does falls on both, and sums each up.
pub(crate) fn total(parts: &[Duration]) -> f64 {
    parts.iter().map(Duration::as_secs_f64).sum()
}
