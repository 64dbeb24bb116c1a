//! What chat is made of, with no word about how it travels or where it is kept.
//!
//! Values are parsed once, at the edge, into types that can't hold an invalid state; from there on nobody checks
//! again. Nothing here knows a runtime, a socket, a database or JSON.

pub mod body;
pub mod dialog;
pub mod error;
pub mod event;
pub mod ids;
pub mod message;
pub mod presence;
pub mod time;
