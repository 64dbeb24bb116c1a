//! Live delivery: the servers' sharded channels, from the socket to the sinks of this node.
//!
//! `pubsub` is what the bus calls. `channels` holds who listens to what and how far the servers know of it; `link`
//! keeps a connection to one server up, `line` is one such connection, and `intake` what comes over it; `times` is what
//! probes prove; `topology` turns a cluster into links, and `routes` says which channel belongs to which.

mod channels;
mod company;
mod intake;
mod line;
mod link;
pub(super) mod pubsub;
mod routes;
mod times;
mod topology;
