//! Implementations of the application's ports.

pub mod memory;
