//! Identifiers: parsed once, cheap to clone, never empty.

use std::fmt;
use std::sync::Arc;

/// Longest identifier, in bytes (all identifiers are ASCII).
pub const ID_MAX_BYTES: usize = 128;

/// The text is not an identifier: 1 to 128 of `[A-Za-z0-9_.:@-]`, the first a letter or digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to 128 of A-Z a-z 0-9 _ . : @ - and begins with a letter or digit")]
pub struct InvalidId;

fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= ID_MAX_BYTES
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'@' | b'-'))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses 1 to 128 of `[A-Za-z0-9_.:@-]`, the first a letter or digit.
            ///
            /// # Errors
            /// [`InvalidId`] for anything else.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if is_id(text) { Ok(Self(text.into())) } else { Err(InvalidId) }
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether both are the very same text in memory: equal, without a look at it.
            #[must_use]
            pub fn is_shared_with(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// A conversation.
    DialogId
}
id! {
    /// A person: the `sub` of a token.
    UserId
}
id! {
    /// A message, named by the Store.
    MessageId
}
id! {
    /// A message, named by the client that sends it: what makes a repeated send harmless.
    ClientMessageId
}
id! {
    /// A client's device, as it names itself.
    DeviceId
}
id! {
    /// A session: unguessable, kept for life on whatever node and transport.
    SessionId
}

/// Whose log an event stands in: a dialog's, or a user's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FeedKey {
    /// The log of a dialog: messages, receipts, membership, application events.
    Dialog(DialogId),
    /// The log of a user: what concerns this user alone (joining and leaving dialogs, a kick).
    User(UserId),
}

impl FeedKey {
    /// The dialog, if this is a dialog's feed.
    #[must_use]
    pub fn dialog(&self) -> Option<&DialogId> {
        match self {
            Self::Dialog(dialog) => Some(dialog),
            Self::User(_) => None,
        }
    }

    /// Whether both are the very same text in memory: equal, without a look at it.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dialog(a), Self::Dialog(b)) => a.is_shared_with(b),
            (Self::User(a), Self::User(b)) => a.is_shared_with(b),
            _ => false,
        }
    }
}

impl fmt::Display for FeedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialog(dialog) => write!(f, "d:{dialog}"),
            Self::User(user) => write!(f, "u:{user}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_1_to_128_plain_characters_and_begins_with_a_letter_or_digit() {
        for good in ["a", "7", "a.b:c@d-e_f", &"x".repeat(128)] {
            assert!(DialogId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "{}", "*", "a\n", "a%00", "..", ".a", "-a", "a b", "é", &"x".repeat(129)] {
            assert_eq!(DialogId::parse(bad), Err(InvalidId), "{bad}");
        }
    }
}
