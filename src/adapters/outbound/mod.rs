//! What the gateway calls: each adapter implements ports of `application` with one technology.

pub mod store_grpc;
