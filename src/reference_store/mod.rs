//! A complete Store on SQLite: for development, demos and tests, and as a worked example of the contract.
//!
//! One thread owns the database and commits what is queued in groups (`transactions.rs`). Whatever is to be published
//! lies in the same transaction as the change it tells of (`outbox.rs`), so that neither is ever without the other.

mod admin;
pub mod database;
pub mod dialogs;
mod events;
pub mod failure;
mod members;
mod messages;
mod outbox;
pub mod role;
pub mod server;
mod service;
mod transactions;
mod wire;
