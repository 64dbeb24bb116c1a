//! Edgeway: an edge gateway for chat. (front page to be written)

pub mod adapters;
pub mod app;
pub mod application;
pub mod config;
pub mod domain;
pub mod proto;
pub mod reference_store;
pub mod session;
