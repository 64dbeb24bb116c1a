//! Sessions as a node runs them: the state machine under a lock, its reader's waker, and what must be done for it.

pub mod lanes;
pub mod live;
pub mod registry;
pub mod told;
