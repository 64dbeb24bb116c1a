//! A complete Store on SQLite: for development, demos and tests, and as a worked example of the contract.
//!
//! One thread owns the database and commits what is queued in groups ([`transactions`]). Whatever is to be published
//! lies in the same transaction as the change it tells of ([`outbox`]), so that neither is ever without the other.

mod admin;
pub mod database;
pub mod dialogs;
mod events;
pub mod failure;
pub mod members;
mod messages;
mod outbox;
pub mod server;
mod service;
mod transactions;
mod wire;
