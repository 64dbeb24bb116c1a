//! What a node tells about itself.

pub mod catalogue;
pub mod cells;
pub mod exposition;
pub mod metrics;
mod pprof_format;
pub mod process;
pub mod profile;
pub mod traces;
