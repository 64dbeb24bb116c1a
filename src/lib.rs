//! Edgeway is an edge gateway for chat. Clients reach it by WebSocket, server-sent events or long-poll; behind all three
//! stands one *session*, which outlives connections and can be carried on by any transport. Messages are kept by a Store
//! behind it (gRPC), and events come to it over a bus with a log for every dialog.
//!
//! # Layers
//!
//! ```text
//! main → app → config → adapters → application → session → domain
//! ```
//!
//! Each may use those to its right, never one to its left; `tests/architecture.rs` sees to it.
//!
//! | layer | what it is | what it does without |
//! |---|---|---|
//! | [`domain`] | what chat is made of: ids, messages, events, errors | everything |
//! | [`session`] | the heart: a state machine of subscriptions, queue and cursor | sockets, clocks, tasks, JSON |
//! | [`application`] | what a node does, as functions over ports; feeds; the sessions of a node | HTTP, gRPC, Redis, JSON |
//! | [`adapters`] | the ports' other side: transports and wire inbound; Store, bus, keys, metrics outbound | each other |
//! | [`config`] | a file and the environment become each part's settings | |
//! | [`app`] | puts the parts together, runs them, takes them down | |
//!
//! Beside the adapters lies [`reference_store`], a message store to begin with; [`proto`] is the Store's contract as
//! generated code.
//!
//! # Where to start reading
//!
//! 1. [`session::outbox`]: numbered entries from which nothing leaves but by acknowledgement. All that is promised to
//!    clients begins there.
//! 2. [`session::machine`], then [`session::intake`] (what comes in) and [`session::reading`] (what goes out).
//! 3. [`application::feed::one`]: how a lossy live channel and a log become an ordered stream.
//! 4. [`application::catch_up`]: how a session gets what it missed, whatever the reason.
//! 5. [`adapters::inbound::poll`], the smallest transport: attach, drain, write.
//! 6. [`app::dev`]: everything put together.

pub mod adapters;
pub mod app;
pub mod application;
pub mod config;
pub mod domain;
pub mod proto;
pub mod reference_store;
pub mod session;
