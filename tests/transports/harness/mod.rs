//! The clients, the server process, and what makes a failure readable.

pub(crate) mod attach;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod ending;
pub(crate) mod json;
pub(crate) mod line;
pub(crate) mod names;
pub(crate) mod poll_line;
pub(crate) mod raw;
pub(crate) mod runner;
pub(crate) mod server;
pub(crate) mod sse_line;
pub(crate) mod sse_parser;
pub(crate) mod stage;
pub(crate) mod transcript;
pub(crate) mod transport;
pub(crate) mod user;
pub(crate) mod ws_line;

pub(crate) use runner::run;
