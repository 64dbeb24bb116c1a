//! What connects the application to the world.

pub mod outbound;
