//! The session core through its public face: the invariants of the architecture, each with tests that name it.

mod bounds;
#[cfg(test)]
mod fixture;
mod reader;
mod resume;
mod revoke;
mod sending;
mod watermark;
