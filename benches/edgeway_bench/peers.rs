//! Servers of others, where they are installed.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::centrifugo;
use crate::child::{self, Server};
use crate::posts::Manner;

/// Where `make bench-peers` puts them.
const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers");
const SOCKET_IO: &str = include_str!("peers/socket_io.mjs");
const NGINX: &str = "/usr/sbin/nginx";
/// Names Centrifugo's binary, if it is not on the path.
const CENTRIFUGO: &str = "EDGEWAY_BENCH_CENTRIFUGO";
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than a run: what gives it events may wait for its turn.
const KEEP_ALIVE_SECONDS: u32 = 3600;

/// A server of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Nchan,
    SocketIo,
    Centrifugo,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nchan => "Nchan",
            Self::SocketIo => "Socket.IO",
            Self::Centrifugo => "Centrifugo",
        }
    }

    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Nchan => nchan_module().exists() && Path::new(NGINX).exists(),
            Self::SocketIo => Path::new(PLACE).join("node_modules/socket.io").exists(),
            Self::Centrifugo => centrifugo_program().is_some(),
        }
    }

    /// Where it is to be had.
    pub(crate) fn whence(self) -> String {
        match self {
            Self::Nchan | Self::SocketIo => "`make bench-peers` fetches it".to_owned(),
            Self::Centrifugo => format!("{CENTRIFUGO} names its binary"),
        }
    }

    /// A new one, which has served nobody. What it writes down is in `directory`, which is its own.
    pub(crate) async fn start(self, directory: &Path) -> anyhow::Result<Server> {
        match self {
            Self::Nchan => nchan(directory).await,
            Self::SocketIo => socket_io().await,
            Self::Centrifugo => centrifugo(directory).await,
        }
    }
}

fn nchan_module() -> PathBuf {
    Path::new(PLACE).join("ngx_nchan_module.so")
}

/// Nchan, in one process of nginx. Its paths and channels are named as the clients ask for
/// them, its heartbeats come as often as Edgeway's, and a first message stands in for the `welcome`.
async fn nchan(directory: &Path) -> anyhow::Result<Server> {
    let module = nchan_module();
    let module = module.display();
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let home = directory.display();
    let config = format!(
        "load_module {module};
daemon off; master_process off; worker_rlimit_nofile 30000;
pid {home}/nchan.pid; error_log {home}/nchan.log;
events {{ worker_connections 30000; }}
http {{
  access_log off; client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home};
  uwsgi_temp_path {home}; scgi_temp_path {home}; keepalive_requests 1000000000;
  keepalive_timeout {KEEP_ALIVE_SECONDS};
  nchan_shared_memory_size 256M;
  server {{
    listen {address} backlog=8192;
    location ~ ^/v1/(ws|sse|poll)$ {{
      nchan_subscriber websocket eventsource longpoll; nchan_channel_id of_$arg_dialogs;
      nchan_subscriber_first_message oldest; nchan_websocket_ping_interval 25; nchan_eventsource_ping_interval 15;
      nchan_longpoll_multipart_response raw;
    }}
    location = /publish {{
      nchan_publisher http; nchan_channel_id of_$arg_dialogs; nchan_message_buffer_length 64;
    }}
  }}
}}
"
    );
    let path = directory.join("nchan.conf");
    std::fs::write(&path, config)?;
    let mut command = Command::new(NGINX);
    command.arg("-p").arg(directory).arg("-e").arg(directory.join("nchan.log")).arg("-c").arg(&path);
    let mut child = command.kill_on_drop(true).spawn().context("nginx")?;
    accepts(address, &mut child).await.context("nginx with Nchan")?;
    let pid = child.id().context("nginx has ended at once")?;
    Ok(Server::new("nchan", address, address, vec![child], vec![pid]).posted(Manner::Publish))
}

/// Socket.IO on Node, in one process.
async fn socket_io() -> anyhow::Result<Server> {
    // Beside its modules, and as it is now.
    std::fs::write(Path::new(PLACE).join("socket_io.mjs"), SOCKET_IO)?;
    let mut command = Command::new("node");
    command.current_dir(PLACE).arg("socket_io.mjs").env("NODE_ENV", "production");
    let (child, line) = child::start(command, "ready").await.context("Socket.IO")?;
    let address = line.trim().trim_start_matches("ready ").parse()?;
    let pid = child.id().context("node has ended at once")?;
    Ok(Server::new("socket.io", address, address, vec![child], vec![pid]).posted(Manner::Publish))
}

/// Named, or else the first on the path.
fn centrifugo_program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(CENTRIFUGO) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join("centrifugo"))
        .find(|program| program.is_file())
}

/// Centrifugo, with its engine in memory.
async fn centrifugo(directory: &Path) -> anyhow::Result<Server> {
    let program = centrifugo_program().context("no centrifugo")?;
    let asked = Command::new(&program).arg("version").stdin(Stdio::null()).kill_on_drop(true).output();
    let told =
        timeout(START_TIMEOUT, asked).await.context("it does not tell its version")?.context(CENTRIFUGO)?;
    centrifugo::version(&String::from_utf8_lossy(&told.stdout)).map_err(anyhow::Error::msg)?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let path = directory.join("centrifugo.json");
    std::fs::write(&path, centrifugo::config(address.port()))?;
    let mut command = Command::new(&program);
    command.current_dir(directory).arg("--config").arg(&path).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn().context("centrifugo")?;
    accepts(address, &mut child).await.context("Centrifugo")?;
    let pid = child.id().context("Centrifugo has ended at once")?;
    Ok(Server::new("centrifugo", address, address, vec![child], vec![pid]).posted(Manner::Centrifugo))
}

/// Waits until somebody listens there, while the child lives: else it would be somebody else.
async fn accepts(address: SocketAddr, child: &mut Child) -> anyhow::Result<()> {
    let connect = async {
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("it has ended at once: {status}");
            }
            if TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(START_TIMEOUT, connect).await.context("it was not ready in time")?
}
