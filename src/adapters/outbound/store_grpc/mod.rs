//! The message store over gRPC: deadlines, retries and a circuit breaker around the generated client.

pub mod breaker;
pub mod bulkhead;
pub mod client;
pub mod config;
mod endpoints;
mod mapping;
mod metadata;
pub mod retry;
mod status;
