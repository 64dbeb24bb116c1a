//! One file per thing a client can do.

pub mod attach;
mod begin;
mod confirm;
mod follow;
mod follow_all;
pub mod history;
pub mod kick;
pub mod presence;
pub mod read_upto;
pub mod reading;
mod rebuild;
pub mod refresh;
pub mod relocate;
pub mod send_message;
pub mod subscribe;
pub mod typing;
