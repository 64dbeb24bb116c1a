//! What every bus must do: one suite, run against each implementation.
//!
//! `contract` says what a bus under test must offer, `suite` holds the tests, and each further module runs them
//! against one implementation and adds what only that one can show.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod feeds;
#[cfg(test)]
mod on_redis;
#[cfg(test)]
mod recorder;
#[cfg(test)]
mod redis_faults;
#[cfg(test)]
mod redis_feeds;
#[cfg(test)]
mod redis_garbage;
#[cfg(test)]
mod redis_script;
#[cfg(test)]
#[allow(dead_code, reason = "these tests use part of it")]
#[path = "../support/redis_server.rs"]
mod redis_server;
#[cfg(test)]
mod redis_servers;
#[cfg(test)]
mod suite;
