//! Implementations of the ports, and the carriages that clients come by.

pub mod outbound;
