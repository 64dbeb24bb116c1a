//! What all nodes share, on Redis (7 or later) or Valkey: one server, Sentinel, or Cluster.
//!
//! `commands` is the one way to ask something, over a link that `supervisor` keeps up; `keys` names every key and
//! channel; each further module implements one port of the application.

pub mod commands;
pub mod connection;
pub mod keys;
pub mod script;
pub mod servers;
mod supervisor;
