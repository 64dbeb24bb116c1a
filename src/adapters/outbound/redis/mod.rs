//! What all nodes share, on Redis (7 or later) or Valkey: one server, Sentinel, or Cluster.
//!
//! `commands` is the one way to ask something, over a link that `supervisor` keeps up; `keys` names every key and
//! channel; each further module implements one port of the application. `live` is the live half of the bus, `streams`
//! its logs.

pub mod bus;
pub mod commands;
mod connect;
pub mod connection;
pub mod idempotency;
pub mod keys;
pub mod lifecycle;
mod live;
pub mod nodes;
pub mod payload;
pub mod presence;
mod record_fields;
pub mod records;
pub mod roster;
pub mod script;
pub mod servers;
pub mod stream_id;
mod streams;
mod supervisor;
pub mod throttle;
pub mod tickets;
