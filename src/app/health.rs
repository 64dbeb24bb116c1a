//! `edgeway health`: asks the node on this machine how it is, for engines that know no probes and images that have no
//! shell.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// As much of the answer as is read, in bytes.
const ANSWER_MAX_BYTES: u64 = 4 * 1024;

/// Asks the admin listener there.
///
/// # Errors
/// When nobody answers in time, or with anything but 200.
pub async fn ask(admin: SocketAddr, path: &str) -> anyhow::Result<()> {
    let answer = tokio::time::timeout(TIMEOUT, get(admin, path))
        .await
        .with_context(|| format!("no answer from {admin} within {} s", TIMEOUT.as_secs()))?
        .with_context(|| format!("no answer from {admin}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    ensure!(head.starts_with("HTTP/1.1 200 "), "{admin}{path}: {}", body.trim());
    Ok(())
}

async fn get(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
