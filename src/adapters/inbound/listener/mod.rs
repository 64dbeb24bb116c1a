//! The accept loop: sockets in, HTTP requests out to an axum `Router`.
//!
//! `axum::serve` installs no timer, so a silent socket, a slow header or an idle keep-alive stays open for ever, and its
//! graceful shutdown waits for streams that never end. Here everything that waits for a peer has a limit
//! ([`config::Config`]), and the owner decides by two tokens how it ends ([`accept::serve`]).
//!
//! - [`bind`]: a listening socket, or an error that says what to do.
//! - [`accept`]: the loop; `accept_errors` is its patience when descriptors run out.
//! - `detect`: HTTP/1.1 or HTTP/2 with prior knowledge, by the first bytes.
//! - [`tls`]: with it, the handshake comes first, and ALPN says which of the two: what serves a connection is generic
//!   over the IO.
//! - `connection`: one connection from the first byte to the last; `header_timer` is its clock on HTTP/1.1, `idle` on
//!   HTTP/2.
//! - `http1`: HTTP/1.1. A request that arrives whole and has no body is read by `request_head`; hyper reads every other, and
//!   writes what is answered to it at once (`through_hyper`). The rest is written by `outside` on the bare socket, with
//!   `answer_head` around it: what waits ([`later`]), goes on ([`stream`]) or becomes another protocol ([`upgrade`]).
//!   [`transport`] is what an upgrade gets.
//! - [`slot`]: a connection's place under the cap, which an upgrade takes along.
//! - `last_words`: lies under hyper and gives back what was read too far; what hyper refuses by itself (malformed request 400, target too long 414, header too large 431) never
//!   becomes a request that the router could see; the error object is put in beneath it. A header that is too slow closes
//!   the connection without an answer.

pub mod accept;
mod accept_errors;
mod answer_head;
pub mod bind;
pub mod config;
mod connection;
mod detect;
mod ending;
pub(super) mod executor;
mod header_timer;
mod http1;
mod idle;
mod last_words;
pub mod later;
mod leaving;
mod outside;
mod request_head;
pub mod slot;
pub mod stream;
mod through_hyper;
pub mod tls;
pub mod transport;
mod unwritten;
pub mod upgrade;

#[cfg(test)]
mod tests;
