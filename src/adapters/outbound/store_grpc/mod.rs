//! The message store over gRPC: deadlines, retries and a circuit breaker around the generated client.

pub mod breaker;
pub mod client;
mod endpoints;
mod mapping;
mod metadata;
pub mod retry;
