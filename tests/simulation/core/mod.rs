//! The session core alone: every step is one call of the state machine, with a model of feed and bus around it.

pub(crate) mod bus;
pub(crate) mod client;
pub(crate) mod node;
pub(crate) mod world;
