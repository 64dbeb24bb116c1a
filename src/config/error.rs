//! What is wrong with a configuration, and where.

use std::fmt;

/// Everything that is wrong, in the order it was found. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong. Carries no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was set: `file:line` or the variable; `None` if nowhere.
    pub place: Option<String>,
    /// The key, dotted; empty when it is the file as a whole.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "the configuration is not valid: {only}"),
            several => {
                write!(f, "the configuration is not valid, for {} reasons:", several.len())?;
                several.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
