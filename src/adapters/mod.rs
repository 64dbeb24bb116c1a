//! The outside world: what comes in from clients, what the application's ports reach.

pub mod inbound;
pub mod outbound;
