//! The caches on Redis, against a real server: what they promise, and what happens when the server does not.
//!
//! `server` starts redis-server; `link` breaks it; each further module is about one port, and what must hold for the
//! cache in memory, too, is a function that is run against both.

#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod ids;
#[cfg(test)]
mod link;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod presence;
#[cfg(test)]
mod records;
#[cfg(test)]
mod roster;
#[cfg(test)]
mod server;
#[cfg(test)]
mod throttle;
#[cfg(test)]
mod tickets;
