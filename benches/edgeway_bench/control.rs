//! How the load generator gives its children events: lines of orders over a connection of their own.
//!
//! `P <dialog> <count> <batch 0|1> <bytes>\n`, then the event's JSON; answered by a dot when it is done.

use std::io::Write;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const BACKLOG: u32 = 8192;
const ORDER_MAX_BYTES: usize = 256 * 1024;

/// "This event, so many times, to this dialog."
pub(crate) struct Order {
    pub(crate) group: u64,
    pub(crate) count: usize,
    /// What belongs together may share a write.
    pub(crate) batch: bool,
    pub(crate) json: Bytes,
}

/// A child's end.
pub(crate) struct Orders {
    lines: BufReader<OwnedReadHalf>,
    answers: OwnedWriteHalf,
}

impl Orders {
    pub(crate) async fn accept(control: &TcpListener) -> anyhow::Result<Self> {
        let (stream, _) = control.accept().await?;
        stream.set_nodelay(true)?;
        let (read, answers) = stream.into_split();
        Ok(Self { lines: BufReader::new(read), answers })
    }

    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Order>> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let numbers: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
        let [group, count, batch, bytes] = numbers[..] else { anyhow::bail!("not an order: {line}") };
        let bytes = usize::try_from(bytes)?;
        anyhow::ensure!(bytes <= ORDER_MAX_BYTES, "an order of {bytes} bytes");
        let mut json = vec![0; bytes];
        self.lines.read_exact(&mut json).await?;
        Ok(Some(Order { group, count: usize::try_from(count)?, batch: batch == 1, json: json.into() }))
    }

    pub(crate) async fn done(&mut self) -> anyhow::Result<()> {
        Ok(self.answers.write_all(b".").await?)
    }
}

/// The load generator's end.
pub(crate) struct Controller(TcpStream);

impl Controller {
    pub(crate) async fn connect(control: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(control).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Gives an order without waiting for the answer to the one before; at most a socket's buffer of them waits.
    pub(crate) async fn send(
        &mut self,
        group: usize,
        count: usize,
        batch: bool,
        json: &[u8],
    ) -> anyhow::Result<()> {
        let mut order = format!("P {group} {count} {} {}\n", u8::from(batch), json.len()).into_bytes();
        order.extend_from_slice(json);
        self.0.write_all(&order).await?;
        let mut answers = [0; 1024];
        // Taken when they are there, so that they don't fill the other direction.
        let _ = self.0.try_read(&mut answers);
        Ok(())
    }
}

pub(crate) fn listen() -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok(socket.listen(BACKLOG)?)
}

/// Tells the parent where to go.
pub(crate) fn announce(address: SocketAddr, control: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready {address} {control}")?;
    Ok(out.flush()?)
}
