//! What the gateway does, over ports: no socket, no database, no JSON here.

pub mod ports;
