//! What a node tells about itself, seen from outside: metrics, health, profiles, traces, logs. Each test has processes of
//! its own.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod behind;
#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod dev;
#[cfg(test)]
mod exposition;
#[cfg(test)]
mod metrics;
#[cfg(test)]
#[allow(dead_code, reason = "these tests use part of it")]
#[path = "../two_nodes/harness/program.rs"]
mod program;
#[cfg(test)]
mod redaction;
#[cfg(test)]
mod traces;
