//! What a member is in a dialog.

use std::sync::Arc;

use super::failure::Failure;
use crate::domain::dialog::Role;
use crate::domain::ids::UserId;

/// Longest role, in bytes.
pub const ROLE_MAX_BYTES: usize = 64;
const DEFAULT_ROLE: &str = "member";
/// The one role that may read but not send.
const READER_ROLE: &str = "reader";

/// A member's role: a short word that is shown to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRole(Role);

impl MemberRole {
    /// Parses a role: empty is the default one.
    ///
    /// # Errors
    /// [`Failure::Invalid`] for what is longer than [`ROLE_MAX_BYTES`] or has other characters than an id.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > ROLE_MAX_BYTES || UserId::parse(text).is_err() {
            return Err(Failure::Invalid("a role is at most 64 characters of the same kind as an id"));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The role as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn can_write(&self) -> bool {
        self.as_str() != READER_ROLE
    }
}

impl Default for MemberRole {
    fn default() -> Self {
        Self(Arc::from(DEFAULT_ROLE))
    }
}

/// A member of a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// In which role.
    pub role: MemberRole,
}

/// What a change of a membership came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberChange {
    /// Whether there was anything to change.
    pub changed: bool,
    /// The membership's version now.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_a_short_word_and_a_reader_can_not_write() {
        assert_eq!(MemberRole::parse("").unwrap().as_str(), "member");
        assert!(MemberRole::parse("owner").unwrap().can_write());
        assert!(!MemberRole::parse("reader").unwrap().can_write());
        for bad in ["two words", "<b>", &"x".repeat(65)] {
            assert!(MemberRole::parse(bad).is_err(), "{bad}");
        }
    }
}
