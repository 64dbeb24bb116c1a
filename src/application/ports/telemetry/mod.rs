//! What a node tells about itself: what happens is counted, what is can be asked for.

pub mod labels;
pub mod measure;
pub mod occurrence;
pub mod profiler;
