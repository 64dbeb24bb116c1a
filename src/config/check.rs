//! What can be asked of a value, and how it is said what is wrong with it.

use std::fmt::Display;
use std::time::Duration;

use super::error::Problem;
use super::load::Sources;
use super::{bytes, duration};

/// What the configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Keys, store and issuer must be named.
    Production,
    /// The process brings its own; it serves this machine alone.
    Development,
}

pub(super) struct Check<'a> {
    pub(super) mode: Mode,
    pub(super) sources: &'a Sources,
    pub(super) problems: Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(self.sources.problem(key, message.into()));
    }

    pub(super) fn that(&mut self, key: &str, holds: bool, message: &str) {
        if !holds {
            self.problem(key, message);
        }
    }

    pub(super) fn parsed<T>(&mut self, key: &str, result: Result<T, &'static str>) -> Option<T> {
        result.map_err(|message| self.problem(key, message)).ok()
    }

    pub(super) fn within<T: Copy + PartialOrd + Written>(&mut self, key: &str, value: T, min: T, max: T) {
        if value < min || value > max {
            self.problem(key, format!("must be {} to {}", min.written(), max.written()));
        }
    }

    pub(super) fn at_least<T: Copy + PartialOrd + Written>(&mut self, key: &str, value: T, min: T) {
        if value < min {
            self.problem(key, format!("must be at least {}", min.written()));
        }
    }

    /// What production can't do without.
    pub(super) fn required<T: Clone + Default>(&mut self, key: &str, value: &Option<T>) -> T {
        value.clone().unwrap_or_else(|| {
            self.problem(key, "must be set");
            T::default()
        })
    }
}

/// How a bound is written in a message: as an operator would.
pub(super) trait Written {
    fn written(self) -> impl Display;
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct Bytes(pub(super) u64);

impl Written for Bytes {
    fn written(self) -> impl Display {
        bytes::format(self.0)
    }
}

impl Written for Duration {
    fn written(self) -> impl Display {
        duration::format(self)
    }
}

impl Written for u32 {
    fn written(self) -> impl Display {
        self
    }
}
