//! Compiles the Store contract into Rust.

fn main() {}
