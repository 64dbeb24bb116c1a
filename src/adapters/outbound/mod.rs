//! Implementations of the application's ports.

pub mod auth;
pub mod clock;
pub mod crypto;
