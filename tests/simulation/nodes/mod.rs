//! Several nodes as they ship ([`edgeway::application::gateway::Gateway`]: feeds, use-cases, sessions), in virtual time,
//! with the world around them played: a bus whose links lose, repeat and delay, whose logs are trimmed, forgotten and
//! rewound; a Store that commits and then doesn't answer; nodes that are killed or cut off; clients that move from
//! transport to transport and from node to node.
//!
//! One seed draws up the plan of a run and all its chances. Nothing else does: no wall clock, no thread, no hash order.

pub(crate) mod bus;
pub(crate) mod client;
pub(crate) mod gate;
pub(crate) mod minimise;
pub(crate) mod mutant;
pub(crate) mod plan;
pub(crate) mod ports;
pub(crate) mod records;
pub(crate) mod store;
pub(crate) mod truth;
pub(crate) mod view;
pub(crate) mod world;
