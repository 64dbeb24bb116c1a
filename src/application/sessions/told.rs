//! What of a session's life has been told to those outside.

/// How much of a session's life has been told, on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Told {
    /// Nothing: if it is known, then by another node.
    #[default]
    Nothing,
    /// It counts as one of its user's sessions.
    Entered,
    /// It is read.
    Attached,
    /// It is not read any more.
    Detached,
    /// It is over, at least here.
    Over,
}
