//! What a node tells about itself.

pub mod catalogue;
pub mod cells;
pub mod exposition;
pub mod metrics;
pub mod process;
