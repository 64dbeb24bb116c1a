//! The one place that reads configuration: a YAML file, and `EDGEWAY__…` variables that override it.
//!
//! Everything that can be wrong is found at once and told by its key, where it was set, and what would be right:
//! an unknown key with the nearest valid one, a value of the wrong kind, values that contradict each other. Nothing
//! below `app` knows this module; each part has a `Config` of its own, which is filled from [`settings::Settings`].
//!
//! - [`raw`]: every key with its default, as written down.
//! - [`settings`]: what the program works with once all is valid; `validate` leads from the one to the other, with
//!   `check` at hand.
//! - [`parts`]: what each part of the program gets of it.
//! - `load`: file, environment and defaults, one over the other; `file`, `env` and `schema` are its parts.
//! - [`error`]: what is wrong, and where; `locate` finds the line, `nearest` the key that was meant.
//! - `text`: what URLs, origins and names must look like.
//! - [`duration`], [`bytes`], [`redact`]: how values are written.

pub mod bytes;
mod check;
pub mod duration;
mod env;
pub mod error;
mod file;
mod load;
mod locate;
mod nearest;
pub mod parts;
pub mod raw;
pub mod redact;
mod schema;
pub mod settings;
pub mod text;
mod validate;

#[cfg(test)]
mod tests;
