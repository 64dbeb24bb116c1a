//! What the gateway calls: each adapter implements ports of the application with one technology.

pub mod auth;
pub mod clock;
pub mod crypto;
pub mod memory;
pub mod redis;
pub mod store_grpc;
pub mod telemetry;
