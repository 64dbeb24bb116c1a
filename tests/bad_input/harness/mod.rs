//! A real server, a client that writes bytes, and the table's runner.

pub(crate) mod answer;
pub(crate) mod ask;
pub(crate) mod frames;
pub(crate) mod http2;
pub(crate) mod line;
pub(crate) mod neighbour;
pub(crate) mod rows;
pub(crate) mod server;
pub(crate) mod stage;
pub(crate) mod tokens;
