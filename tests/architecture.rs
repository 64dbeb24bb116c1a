//! The architecture as a test: who may use whom, and which crates. `docs/architecture.md` says why.
//!
//! It reads what the sources name, by `use` and in the middle of a line, and knows nothing else of Rust: a macro that
//! puts a path together would escape it.

#[cfg(test)]
#[path = "architecture/broken.rs"]
mod broken;
#[cfg(test)]
#[path = "architecture/crates.rs"]
mod crates;
#[cfg(test)]
#[path = "architecture/rules.rs"]
mod rules;
#[cfg(test)]
#[path = "architecture/source.rs"]
mod source;
#[cfg(test)]
#[path = "architecture/tokens.rs"]
mod tokens;

use std::path::Path;

use crate::source::{Source, crate_names};

#[test]
fn the_sources_keep_the_rules() {
    let sources = Source::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 100, "the sources are not where they are looked for");
    let violations = rules::violations(&sources, &crate_names());
    assert!(violations.is_empty(), "{} times:\n{}", violations.len(), violations.join("\n"));
}
