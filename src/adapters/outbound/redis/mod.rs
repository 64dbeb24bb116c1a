//! What all nodes share, on Redis (7 or later) or Valkey: one server, Sentinel, or Cluster.
//!
//! `commands` is the one way to ask something, over a link that `supervisor` keeps up; `keys` names every key and
//! channel; each further module implements one port of the application.

pub mod commands;
pub mod connection;
pub mod idempotency;
pub mod keys;
pub mod lifecycle;
pub mod nodes;
pub mod presence;
mod record_fields;
pub mod records;
pub mod script;
pub mod servers;
mod supervisor;
pub mod throttle;
pub mod tickets;
