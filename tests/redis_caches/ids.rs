//! Names for tests.

use edgeway::domain::ids::{ClientMessageId, DialogId, SessionId, UserId};

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub(crate) fn dialog(name: &str) -> DialogId {
    DialogId::parse(name).unwrap()
}

pub(crate) fn session(name: &str) -> SessionId {
    SessionId::parse(name).unwrap()
}

pub(crate) fn sent(name: &str) -> ClientMessageId {
    ClientMessageId::parse(name).unwrap()
}
