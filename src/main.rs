//! The `edgeway` command.

fn main() {}
