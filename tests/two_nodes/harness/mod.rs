//! The nodes; and the transport suite's clients, which ask a [`stage`] and a [`server`] where to go.

pub(crate) mod nodes;
pub(crate) mod program;
pub(crate) mod roamer;
pub(crate) mod seen;
pub(crate) mod server;
pub(crate) mod stage;

#[path = "../../transports/harness/attach.rs"]
pub(crate) mod attach;
#[path = "../../transports/harness/check.rs"]
pub(crate) mod check;
#[path = "../../transports/harness/client.rs"]
pub(crate) mod client;
#[path = "../../transports/harness/ending.rs"]
pub(crate) mod ending;
#[path = "../../transports/harness/json.rs"]
pub(crate) mod json;
#[path = "../../transports/harness/line.rs"]
pub(crate) mod line;
#[path = "../../transports/harness/names.rs"]
pub(crate) mod names;
#[path = "../../transports/harness/poll_line.rs"]
pub(crate) mod poll_line;
#[path = "../../transports/harness/runner.rs"]
pub(crate) mod runner;
#[path = "../../transports/harness/sse_line.rs"]
pub(crate) mod sse_line;
#[path = "../../transports/harness/sse_parser.rs"]
pub(crate) mod sse_parser;
#[path = "../../transports/harness/transcript.rs"]
pub(crate) mod transcript;
#[path = "../../transports/harness/transport.rs"]
pub(crate) mod transport;
#[path = "../../transports/harness/user.rs"]
pub(crate) mod user;
#[path = "../../transports/harness/ws_line.rs"]
pub(crate) mod ws_line;

#[allow(unused_imports, reason = "a suite may have a deadline of its own")]
pub(crate) use runner::run;
