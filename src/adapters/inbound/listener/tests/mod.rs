//! The listener over real sockets.

mod goes_on;
mod http1;
mod http2;
mod raw_http2;
mod server;
mod shutdown;
mod tls;
