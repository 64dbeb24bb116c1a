//! Two gateway nodes as they run in production: real processes of `edgeway serve` and `edgeway store`, with a Redis of
//! their own in between, that are killed, cut off and moved between.
//!
//! The clients are those of the transport suite. Every test has its own Redis, Store and nodes, so that it may break
//! them.

/// Generates one test for each named `async fn()` of the surrounding module.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        mod tests {
            $(#[test] fn $name() {
                crate::harness::run(super::$name);
            })*
        }
    };
}

#[cfg(test)]
mod admin;
#[cfg(test)]
mod authority;
#[cfg(test)]
mod descriptors;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod encrypted;
#[cfg(test)]
mod faults;
#[cfg(test)]
#[allow(
    dead_code,
    reason = "its clients can do more than is needed here: the transport suite uses them, too"
)]
mod harness;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod readers;
#[cfg(test)]
#[allow(dead_code, reason = "these tests use part of it")]
#[path = "../support/redis_server.rs"]
mod redis_server;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod secured;
#[cfg(test)]
mod together;
