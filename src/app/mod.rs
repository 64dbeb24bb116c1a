//! The program: puts the parts together, runs them, and takes them down.

pub mod backplane;
pub mod certificate;
pub mod cli;
pub mod demo;
pub mod dev;
mod dev_node;
pub mod dev_routes;
pub mod health;
pub mod lifecycle;
pub mod logging;
pub mod node;
pub mod serve;
pub mod store;
