//! What the Store's statuses mean, and those that were made on this side.

use std::error::Error;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::application::ports::store::StoreError;

/// Why one attempt failed, as far as it matters for what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptError {
    /// Nobody answered: another attempt may.
    Unavailable,
    /// No answer in time: another attempt may be quicker.
    Timeout,
    /// The Store gave way to another call, and asks for a repeat.
    Aborted,
    /// An answer that stays the same however often it is asked.
    Final(StoreError),
}

impl From<AttemptError> for StoreError {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Unavailable => Self::Unavailable,
            AttemptError::Timeout => Self::Timeout,
            AttemptError::Aborted => Self::Internal,
            AttemptError::Final(error) => error,
        }
    }
}

/// What a status means.
pub(super) fn attempt_error(status: &Status) -> AttemptError {
    // A status with a source was made on this side, out of a broken connection: tonic calls it unknown, internal or
    // cancelled, whatever the HTTP/2 layer made of it.
    let local = status.source().is_some();
    match status.code() {
        Code::Unavailable => AttemptError::Unavailable,
        // Nobody here cancels a call and still looks at its status, so "cancelled" is a deadline that tonic (on either
        // side) enforced, unless the connection went away under the call.
        Code::Cancelled if local && !timed_out(status) => AttemptError::Unavailable,
        Code::DeadlineExceeded | Code::Cancelled => AttemptError::Timeout,
        Code::Unknown | Code::Internal if local => AttemptError::Unavailable,
        Code::Aborted => AttemptError::Aborted,
        Code::InvalidArgument => AttemptError::Final(StoreError::Invalid),
        Code::PermissionDenied => AttemptError::Final(StoreError::NotMember),
        Code::NotFound => AttemptError::Final(StoreError::NotFound),
        Code::AlreadyExists => AttemptError::Final(StoreError::Conflict),
        Code::ResourceExhausted => AttemptError::Final(StoreError::RateLimited {
            retry_after: status.get_details_retry_info().and_then(|info| info.retry_delay),
        }),
        Code::Unimplemented => AttemptError::Final(StoreError::Unimplemented),
        Code::Unauthenticated => AttemptError::Final(StoreError::Unavailable),
        _ => AttemptError::Final(StoreError::Internal),
    }
}

fn timed_out(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn every_status_has_its_meaning() {
        let table = [
            (Code::InvalidArgument, AttemptError::Final(StoreError::Invalid)),
            (Code::PermissionDenied, AttemptError::Final(StoreError::NotMember)),
            (Code::NotFound, AttemptError::Final(StoreError::NotFound)),
            (Code::AlreadyExists, AttemptError::Final(StoreError::Conflict)),
            (Code::ResourceExhausted, AttemptError::Final(StoreError::RateLimited { retry_after: None })),
            (Code::Unimplemented, AttemptError::Final(StoreError::Unimplemented)),
            (Code::Unauthenticated, AttemptError::Final(StoreError::Unavailable)),
            (Code::Unavailable, AttemptError::Unavailable),
            (Code::DeadlineExceeded, AttemptError::Timeout),
            (Code::Cancelled, AttemptError::Timeout),
            (Code::Aborted, AttemptError::Aborted),
            (Code::Internal, AttemptError::Final(StoreError::Internal)),
            (Code::Unknown, AttemptError::Final(StoreError::Internal)),
            (Code::OutOfRange, AttemptError::Final(StoreError::Internal)),
            (Code::FailedPrecondition, AttemptError::Final(StoreError::Internal)),
            (Code::DataLoss, AttemptError::Final(StoreError::Internal)),
        ];
        for (code, meaning) in table {
            assert_eq!(attempt_error(&Status::new(code, "text")), meaning, "{code:?}");
        }
    }

    #[test]
    fn a_status_made_of_a_broken_connection_is_unavailable_and_one_made_of_a_timer_a_timeout() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(attempt_error(&Status::from_error(Box::new(broken))), AttemptError::Unavailable);
        let late = Status::from_error(Box::new(tonic::TimeoutExpired(())));
        assert_eq!(attempt_error(&late), AttemptError::Timeout);
    }

    #[test]
    fn the_stores_own_advice_on_when_to_come_back_is_kept() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(7)));
        let status = Status::with_error_details(Code::ResourceExhausted, "slow down", details);
        assert_eq!(
            attempt_error(&status),
            AttemptError::Final(StoreError::RateLimited { retry_after: Some(Duration::from_secs(7)) })
        );
    }
}
