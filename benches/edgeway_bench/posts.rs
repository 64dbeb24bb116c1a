//! Events given by HTTP, as peers take them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::parse::find;

/// How long it may take until all are taken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to whom events are posted.
pub(crate) struct Posts(TcpStream);

impl Posts {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Posts one event so many times, all at once, and waits until each has been taken.
    pub(crate) async fn send(
        &mut self,
        dialog: Option<usize>,
        count: usize,
        json: &[u8],
    ) -> anyhow::Result<()> {
        timeout(PATIENCE, self.send_all(dialog, count, json)).await.context("the peer takes no events")?
    }

    async fn send_all(&mut self, dialog: Option<usize>, count: usize, json: &[u8]) -> anyhow::Result<()> {
        let dialogs = dialog.map_or_else(String::new, |dialog| format!("d{dialog}"));
        let head = format!(
            "POST /publish?dialogs={dialogs} HTTP/1.1\r\nHost: peer\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            json.len()
        );
        self.0.write_all(&[head.as_bytes(), json].concat().repeat(count)).await?;
        let (mut answers, mut taken) = (Vec::new(), 0);
        while taken < count {
            ensure!(self.0.read_buf(&mut answers).await? > 0, "the peer has closed");
            while let Some(length) = answer(&answers)? {
                answers.drain(..length);
                taken += 1;
            }
        }
        Ok(())
    }
}

/// How long the first answer is; `None` if it is not all there.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 20"), "{head}");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let length = end + 4 + length.map_or(Ok(0), str::parse::<usize>)?;
    Ok((bytes.len() >= length).then_some(length))
}
