//! Why the reference Store did not do what it was asked.

use tonic::Status;

/// The reasons, as far as a caller can tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An argument is not what the contract says; the text names it and never repeats it.
    #[error("{0}")]
    Invalid(&'static str),
    /// The user doesn't belong to the dialog, or may not send to it.
    #[error("the user is not a member who may do this")]
    NotMember,
    /// There is no such dialog.
    #[error("there is no such dialog")]
    NotFound,
    /// The client message id was used for another message.
    #[error("the client_message_id was used for another message")]
    Conflict,
    /// The dialog was created before.
    #[error("the dialog has been created before")]
    DialogExists,
    /// The database can't be written just now: nothing was done.
    #[error("the database is not available")]
    Unavailable,
    /// The database holds what it should not, or a statement is wrong.
    #[error("internal")]
    Internal,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        tracing::error!(%error, "the database refuses a statement");
        match error.sqlite_error_code() {
            Some(
                Code::DatabaseBusy
                | Code::DatabaseLocked
                | Code::DiskFull
                | Code::SystemIoFailure
                | Code::OutOfMemory
                | Code::CannotOpen,
            ) => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure {
            Failure::Invalid(_) => Self::invalid_argument(text),
            Failure::NotMember => Self::permission_denied(text),
            Failure::NotFound => Self::not_found(text),
            Failure::Conflict | Failure::DialogExists => Self::already_exists(text),
            Failure::Unavailable => Self::unavailable(text),
            Failure::Internal => Self::internal(text),
        }
    }
}
