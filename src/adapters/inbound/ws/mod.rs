//! WebSocket: one task per connection reads, writes, and carries commands out side by side.
//!
//! [`open`] upgrades and `admit` finds out who is there; `connection` serves until `farewell`; what the client has
//! said and not yet heard of is `in_flight`.

pub mod open;

mod admit;
mod connection;
mod farewell;
mod in_flight;
