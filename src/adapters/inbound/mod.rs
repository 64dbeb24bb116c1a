//! What clients connect to: one thin adapter per transport over the same session core, and the wire they share.

pub mod admin;
pub mod http;
pub mod listener;
pub mod outgoing;
pub mod peers;
pub mod poll;
pub mod router;
pub mod sse;
pub mod websocket;
pub mod wire;
pub mod ws;
