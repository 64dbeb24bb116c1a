//! A redis-server of our own.

use std::net::TcpListener;

use anyhow::Context;
use tokio::process::{Child, Command};

use crate::child;

/// Starts one that keeps nothing on disk; gives its URL.
pub(crate) async fn start() -> anyhow::Result<(Child, String)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let (child, _) = child::start(command, "Ready to accept connections")
        .await
        .context("redis-server: apt-get install redis-server, or leave the redis scenario out with --only")?;
    Ok((child, format!("redis://127.0.0.1:{port}")))
}
