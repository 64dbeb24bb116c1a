//! What is measured. Each scenario adds its rows to the report.

pub(crate) mod accept;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod mixed;
pub(crate) mod peers;
pub(crate) mod rooms;
pub(crate) mod send;
pub(crate) mod setting;
pub(crate) mod storm;
