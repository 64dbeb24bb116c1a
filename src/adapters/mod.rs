//! The outside world: inbound adapters serve clients, outbound adapters implement the application's ports.

pub mod inbound;
