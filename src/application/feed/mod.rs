//! Feeds: one per dialog (or user) and node. A feed turns a lossy live channel and a log into an ordered, gap-free
//! stream, and pushes shared, already encoded events into the sessions that follow it.

mod broadcast;
pub mod context;
pub mod inbox;
pub mod one;
pub mod recent;
pub mod registry;
mod repair;
pub mod standing;
pub mod subscribers;
