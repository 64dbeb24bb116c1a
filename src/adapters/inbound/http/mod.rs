//! What all HTTP entry points share, and those that are nothing but HTTP.

pub mod asked;
pub mod attach_query;
pub mod client;
pub mod commands;
pub mod credentials;
pub mod edge;
pub mod origin;
pub mod reject;
pub mod relay;
pub mod sessions;
