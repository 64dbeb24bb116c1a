//! A TCP proxy that does to connections what networks do: holds, swallows, slows, slices, cuts, and leaves half-open.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CHUNK_BYTES: usize = 16 * 1024;

/// What happens to what passes through, from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Pass,
    /// It is held in both directions until the mode changes.
    Hold,
    /// What comes from the target is swallowed. Such a connection is of no use any more, and is cut with the next mode.
    Swallow,
    /// Every piece waits for so long.
    Slow(Duration),
    /// It goes on in pieces of so many bytes.
    Slice(usize),
    /// A connection is cut after so many bytes of one direction.
    CutAfter(usize),
}

#[derive(Debug, Clone, Copy)]
struct Orders {
    mode: Mode,
    /// Connections before this one are cut.
    cut_before: u64,
    /// Connections before this one stay open, and nothing passes through them ever again.
    strand_before: u64,
}

/// A proxy in front of one address; ends when it is dropped.
pub(crate) struct ChaosProxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    connections: Arc<Mutex<u64>>,
    _tasks: JoinSet<()>,
}

impl ChaosProxy {
    /// In front of this address, on a free port of the loopback interface. Passes everything to begin with.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let orders = watch::Sender::new(Orders { mode: Mode::Pass, cut_before: 0, strand_before: 0 });
        let connections = Arc::new(Mutex::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, orders.clone(), connections.clone()));
        Self { address, orders, connections, _tasks: tasks }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it goes on.
    pub(crate) fn set(&self, mode: Mode) {
        self.orders.send_modify(|orders| orders.mode = mode);
    }

    /// Cuts all connections that there are.
    pub(crate) fn cut(&self) {
        let next = *self.connections.lock().unwrap();
        self.orders.send_modify(|orders| orders.cut_before = next);
    }

    /// Leaves all connections that there are half-open: nobody is told, and nothing passes any more.
    pub(crate) fn strand(&self) {
        let next = *self.connections.lock().unwrap();
        self.orders.send_modify(|orders| orders.strand_before = next);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    orders: watch::Sender<Orders>,
    connections: Arc<Mutex<u64>>,
) {
    let mut running = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let number = {
            let mut next = connections.lock().unwrap();
            *next += 1;
            *next - 1
        };
        let orders = orders.subscribe();
        running.spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else { return };
            for socket in [&client, &server] {
                let _ = socket.set_nodelay(true);
            }
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            let there = Direction { number, orders: orders.clone(), is_answer: false };
            let back = Direction { number, orders, is_answer: true };
            // Either end ends both: both sockets are closed then.
            tokio::select! {
                () = there.copy(from_client, to_server) => {}
                () = back.copy(from_server, to_client) => {}
            }
        });
        while running.try_join_next().is_some() {}
    }
}

struct Direction {
    number: u64,
    orders: watch::Receiver<Orders>,
    is_answer: bool,
}

impl Direction {
    /// Returns when the connection is to be closed.
    async fn copy(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; CHUNK_BYTES];
        let (mut passed, mut swallowed) = (0, false);
        loop {
            let orders = *self.orders.borrow_and_update();
            if self.number < orders.cut_before || (swallowed && orders.mode != Mode::Swallow) {
                return;
            }
            if self.number < orders.strand_before {
                if self.orders.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let read = tokio::select! {
                read = from.read(&mut buffer), if orders.mode != Mode::Hold => read,
                changed = self.orders.changed() => {
                    if changed.is_err() { return; }
                    continue;
                }
            };
            let Ok(count @ 1..) = read else { return };
            let mut piece = &buffer[..count];
            match orders.mode {
                Mode::Swallow if self.is_answer => {
                    swallowed = true;
                    continue;
                }
                Mode::Slow(wait) => tokio::time::sleep(wait).await,
                Mode::CutAfter(bytes) => piece = &piece[..piece.len().min(bytes.saturating_sub(passed))],
                Mode::Pass | Mode::Hold | Mode::Swallow | Mode::Slice(_) => {}
            }
            let slice = if let Mode::Slice(bytes) = orders.mode { bytes } else { CHUNK_BYTES };
            for part in piece.chunks(slice.max(1)) {
                if to.write_all(part).await.is_err() {
                    return;
                }
                passed += part.len();
            }
            if matches!(orders.mode, Mode::CutAfter(bytes) if passed >= bytes) {
                return;
            }
        }
    }
}
