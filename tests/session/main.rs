//! The session core through its public face: the invariants of the architecture, each with tests that name it.

mod bounds;
mod fixture;
mod reader;
mod resume;
mod revoke;
mod sending;
mod watermark;
