//! What clients and operators reach.

pub mod listener;
