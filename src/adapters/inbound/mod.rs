//! What clients connect to.

pub mod websocket;
