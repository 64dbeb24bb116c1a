//! Events given by HTTP, as peers take them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::centrifugo;
use crate::parse::find;

/// How long it may take until all are taken.
const PATIENCE: Duration = Duration::from_secs(60);

/// How events are posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// To `/publish`, the dialog in the query.
    Publish,
    /// To Centrifugo's API, which wraps both, and tells in its answer whether it was done.
    Centrifugo,
}

/// A connection to whom events are posted.
pub(crate) struct Posts {
    stream: TcpStream,
    pub(crate) manner: Manner,
}

impl Posts {
    pub(crate) async fn connect(address: SocketAddr, manner: Manner) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, manner })
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
        let (path, body) = match self.manner {
            Manner::Publish => {
                let dialogs = dialog.map_or_else(String::new, |dialog| format!("d{dialog}"));
                (format!("/publish?dialogs={dialogs}"), json.to_owned())
            }
            Manner::Centrifugo => ("/api/publish".to_owned(), centrifugo::publication(dialog, json)),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: peer\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(&[head.as_bytes(), &body].concat().repeat(count)).await?;
        let (mut answers, mut taken) = (Vec::new(), 0);
        while taken < count {
            ensure!(self.stream.read_buf(&mut answers).await? > 0, "the peer has closed");
            while let Some((head, length)) = answer(&answers)? {
                let body = &answers[head..length];
                ensure!(
                    self.manner == Manner::Publish || centrifugo::is_published(body),
                    "{}",
                    String::from_utf8_lossy(body)
                );
                answers.drain(..length);
                taken += 1;
            }
        }
        Ok(())
    }
}

/// Where the body of the first answer begins, and where it ends; `None` if it is not all there.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 20"), "{head}");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let length = end + 4 + length.map_or(Ok(0), str::parse::<usize>)?;
    Ok((bytes.len() >= length).then_some((end + 4, length)))
}
