//! The server half of RFC 6455, and of RFC 8441 (WebSocket over HTTP/2). It knows HTTP and bytes, and nothing of chat.
//!
//! It is our own because of what an idle connection may cost: the codec holds about 200 bytes and no buffer at all.
//! Bytes are read into a scratch buffer of the thread and decoded on the spot; memory is taken when the first byte of
//! a message comes and leaves with the message. Frames are written from shared payloads without copying them.
//!
//! - [`handshake`] turns a request into a response head and a pending upgrade, or into a refusal.
//! - [`reader`] decodes, [`writer`] queues: plain state machines without IO.
//! - [`socket`] joins the two with a connection; one task drives both directions.
//!
//! - [`mod@deflate`] is the one extension, permessage-deflate: where a client offers it, and with nothing kept from message to
//!   message.

pub mod close;
pub mod deflate;
pub mod flood;
pub mod frame;
pub mod handshake;
pub mod reader;
pub mod scratch;
pub mod socket;
pub mod writer;

#[cfg(test)]
mod client_frames;
#[cfg(test)]
mod end_to_end;
