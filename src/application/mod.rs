//! What the gateway does, over ports: no socket, no database, no JSON here.
//!
//! Start with [`gateway::Gateway`], which holds everything a node has, and [`command`], which lists what a client may
//! ask for.

pub mod addresses;
pub mod admission;
pub mod allowance;
pub mod care;
pub mod catch_up;
pub mod command;
pub mod farewell;
pub mod feed;
pub mod gateway;
pub mod gauges;
pub mod handovers;
pub mod lifecycle;
pub mod limits;
pub mod memberships;
pub mod ports;
pub mod pressure;
pub mod read_marks;
mod recording;
pub mod relief;
pub mod sessions;
pub mod trace;
pub mod trace_state;
mod upkeep;
pub mod usecase;
pub mod vital;
