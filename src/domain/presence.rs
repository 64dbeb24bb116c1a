//! Who is there.

use super::ids::UserId;
use super::time::UnixMillis;

/// Whether a user is there, as the others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PresenceState {
    /// At least one of the user's sessions is active.
    Online,
    /// All of the user's sessions are idle.
    Away,
    /// None is there.
    Offline,
}

impl PresenceState {
    /// The state's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
            Self::Offline => "offline",
        }
    }
}

/// A user's presence in a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub user_id: UserId,
    /// Whether the user is there.
    pub state: PresenceState,
    /// When the user last came, went or changed state.
    pub last_active: UnixMillis,
}

/// What a user is doing at the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TypingState {
    /// Began to write.
    Started,
    /// Stopped writing.
    Stopped,
}

impl TypingState {
    /// The state's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
        }
    }
}
