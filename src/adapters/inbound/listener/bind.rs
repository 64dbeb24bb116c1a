//! A listening socket, or an error that says what to do.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

/// Connections the kernel holds until they are accepted: enough for a reconnect storm. The kernel caps it
/// (`net.core.somaxconn`).
const BACKLOG_CONNECTIONS: u32 = 4096;

/// How long sent bytes may stay unacknowledged, or a peer's window closed, before the kernel gives the connection up
/// (RFC 5482). Without it a peer that vanished under an SSE stream is noticed after about 15 min.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(60);

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{address} is in use: another process listens there, perhaps another gateway")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The port is privileged.
    #[error("no permission to listen on {address}: ports below 1024 need CAP_NET_BIND_SERVICE")]
    NotPermitted {
        /// The address.
        address: SocketAddr,
    },
    /// This machine has no such address.
    #[error("this machine has no address {}", .address.ip())]
    NotLocal {
        /// The address.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {address}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Listens on an address. Port 0 takes a free one.
///
/// # Errors
/// [`BindError`], which names the address and what is likely wrong.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    listen(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        io::ErrorKind::PermissionDenied => BindError::NotPermitted { address },
        io::ErrorKind::AddrNotAvailable => BindError::NotLocal { address },
        _ => BindError::Other { address, source },
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the old process's connections to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // Accepted sockets inherit it.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    socket.listen(BACKLOG_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = bind(any_port()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert!(matches!(error, BindError::InUse { address: named } if named == address), "{error}");
        assert!(error.to_string().contains(&address.to_string()));
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        let address = SocketAddr::from(([192, 0, 2, 1], 8080));
        let error = bind(address).unwrap_err();
        assert!(matches!(error, BindError::NotLocal { .. }), "{error}");
        assert!(error.to_string().contains("192.0.2.1"));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn accepted_sockets_give_a_vanished_peer_up() {
        let listener = bind(any_port()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(
            socket2::SockRef::from(&accepted).tcp_user_timeout().unwrap(),
            Some(UNACKNOWLEDGED_TIMEOUT)
        );
    }
}
