//! Connections to other nodes: HTTP/2 with prior knowledge, or behind TLS, few of them and shared by many requests.
//!
//! [`pool`] keeps them; `connect` makes one; [`trust`] is who is believed to be a node; [`answer`] is what comes back, unbuffered.

pub mod answer;
mod connect;
pub mod pool;
pub mod trust;

#[cfg(test)]
mod tests;
