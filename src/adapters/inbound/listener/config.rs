//! What the listener tolerates.

use std::time::Duration;

/// The smallest header limit: hyper's smallest read buffer.
pub const HEADER_BYTES_MIN: usize = 8 * 1024;

/// What the listener tolerates of its peers. The defaults suit the open Internet behind a load balancer or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How long a new connection may take to show which protocol it speaks: the first byte of HTTP/1.1, the whole
    /// preface of HTTP/2.
    pub first_byte_timeout: Duration,
    /// How long TLS may take, from the first byte it sends to the last.
    pub handshake_timeout: Duration,
    /// How long a request's header may take, from its first byte (HTTP/1.1).
    pub header_read_timeout: Duration,
    /// How long a connection may wait for its next request. On HTTP/2 up to half as long again. Longer than load balancers keep theirs (60 s is
    /// common), else they write requests into connections that are just being closed.
    pub keep_alive_idle_timeout: Duration,
    /// How large a request's line and header may be together (431 beyond). At least [`HEADER_BYTES_MIN`]. It also
    /// bounds what hyper buffers for reading and writing, on HTTP/2 the decoded header list.
    pub max_header_bytes: usize,
    /// What concerns HTTP/2 alone.
    pub http2: Http2Config,
}

/// What concerns HTTP/2 alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Config {
    /// Requests at once on one connection, streams and WebSockets included (RFC 9113 §6.5.2).
    pub max_concurrent_streams: u32,
    /// How often a connection is pinged (RFC 9113 §6.7), also when no request is running.
    pub keep_alive_interval: Duration,
    /// How long a ping may stay unanswered before the connection is closed.
    pub keep_alive_timeout: Duration,
    /// Streams that the peer opened and reset before they were looked at. Beyond it the connection is closed: rapid
    /// reset (CVE-2023-44487).
    pub max_pending_accept_reset_streams: usize,
    /// Streams that were reset here because of the peer's errors. Beyond it the connection is closed
    /// (RUSTSEC-2024-0003).
    pub max_local_error_reset_streams: usize,
    /// What a peer may send on one stream before it is read (RFC 9113 §6.9): a body or a few WebSocket frames.
    pub stream_window_bytes: u32,
    /// The same for the whole connection.
    pub connection_window_bytes: u32,
    /// What is buffered for one stream that its peer doesn't read.
    pub max_send_buffer_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(10),
            keep_alive_idle_timeout: Duration::from_secs(75),
            max_header_bytes: 16 * 1024,
            http2: Http2Config::default(),
        }
    }
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 256,
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
            max_pending_accept_reset_streams: 32,
            max_local_error_reset_streams: 128,
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 512 * 1024,
            max_send_buffer_bytes: 64 * 1024,
        }
    }
}
