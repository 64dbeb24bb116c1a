//! The session core: a plain state machine without sockets, clocks, Redis or JSON.
//!
//! A session holds subscriptions with their positions and an outgoing queue from which nothing leaves but by
//! acknowledgement. *Sending never changes the queue*: that one rule is why an aborted poll, a half-written SSE chunk
//! and a dead WebSocket all lose nothing.

pub mod catch_up;
pub mod cursor;
pub mod delivered;
mod doubt;
pub mod ephemeral;
pub mod feed_table;
pub mod intake;
pub mod leaving;
pub mod ledger;
pub mod machine;
mod membership;
pub mod outbox;
pub mod piece;
pub mod reader;
pub mod reading;
pub mod rebuild;
pub mod replay;
pub mod since;
pub mod snapshot;
mod spill;
pub mod subscriptions;
