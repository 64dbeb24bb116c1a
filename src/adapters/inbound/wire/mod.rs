//! The client protocol as JSON: the only place that knows how commands, replies and events are written.

pub mod commands;
pub mod control;
pub mod errors;
mod event_head;
pub mod events;
pub mod fields;
mod node_words;
pub mod replies;
pub mod strict;
pub mod targets;
