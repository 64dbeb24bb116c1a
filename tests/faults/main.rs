//! What can happen to Redis, to the Store, to the links to them and to a node while messages flow: two real gateways, the reference Store and
//! a Redis of their own, hundreds of messages a second, clients on all three transports, and one oracle.
//!
//! `crowd` is the traffic, `../support/oracle.rs` the judge; each further module holds the faults of one kind.

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
mod by_hand;
#[cfg(test)]
#[path = "../support/chaos_proxy.rs"]
mod chaos_proxy;
#[cfg(test)]
#[path = "../support/closing.rs"]
mod closing;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod garbage;
// The clients and nodes of the other suites can do more than is needed here.
#[cfg(test)]
#[allow(dead_code, reason = "these tests use part of it")]
#[path = "../two_nodes/harness/mod.rs"]
mod harness;
#[cfg(test)]
mod links;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod nodes;
#[cfg(test)]
#[allow(dead_code, reason = "these tests use part of it")]
#[path = "../support/oracle.rs"]
mod oracle;
#[cfg(test)]
mod reader;
#[cfg(test)]
#[allow(dead_code, reason = "these tests use part of it")]
#[path = "../support/redis_server.rs"]
mod redis_server;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod store;
#[cfg(test)]
mod writer;
