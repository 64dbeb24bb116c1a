//! The bus and the caches inside the process: one node runs with nothing installed.
//!
//! The bus keeps the same promises as the one on Redis (one conformance suite runs against both); the caches are what
//! Redis would remember for all nodes, remembered for this one.

pub mod bus;
mod bus_config;
mod faults;
mod feeds;
pub mod idempotency;
pub mod lifecycle;
mod live;
mod log;
pub mod nodes;
pub mod presence;
pub mod records;
pub mod roster;
mod sharded;
pub mod throttle;
