//! The end: of a reader, whose session stays, and of the session; and what time alone brings about.

use std::time::Duration;

use super::machine::Session;
use super::reader::{Attachment, Dismissal};
use crate::domain::time::{Tick, UnixMillis};

/// How long before its token expires a reader is told.
pub const TOKEN_NOTICE: Duration = Duration::from_secs(60);

/// What the passing of time has done to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimedOut {
    /// It counts as gone for others: nobody has read it for the presence grace.
    pub gone: bool,
    /// It is to be forgotten here: nobody has read it for the resume window. Its record stays.
    pub expired: bool,
}

impl Session {
    /// The reader has shown a newer token.
    pub fn set_token_expiry(&mut self, expires_at: UnixMillis) {
        self.token_expires_at = expires_at;
        self.token_notice_due = true;
        self.token_notice_waiting = false;
    }

    /// Sends the current reader away; the session stays.
    pub fn dismiss(&mut self, dismissal: Dismissal) {
        if let Attachment::Attached(current) = &mut self.attachment {
            current.dismissal.get_or_insert(dismissal);
        }
    }

    /// The node is going: the reader is sent away, and nobody reads here from now on. The session goes on elsewhere, from
    /// what it has handed out by now.
    pub fn send_away(&mut self, reconnect_after: Duration) {
        self.sent_away = true;
        self.dismiss(Dismissal::Draining { reconnect_after });
    }

    /// Whether the session was sent away.
    #[must_use]
    pub fn is_sent_away(&self) -> bool {
        self.sent_away
    }

    /// Ends the session for good.
    pub fn end(&mut self, why: Dismissal) {
        self.ended.get_or_insert(why);
        self.ephemerals.clear();
    }

    /// The session goes on at another node: here it is over, and its reader is one of the past.
    pub fn supersede(&mut self) {
        // Also where it has just expired: what is said of it from now on is the other node's.
        self.ended = match self.ended {
            None | Some(Dismissal::Expired) => Some(Dismissal::Superseded),
            ended => ended,
        };
        self.ephemerals.clear();
    }

    /// Does what is due at this time.
    pub fn handle_timeout(&mut self, now: Tick, unix: UnixMillis) -> TimedOut {
        match &mut self.attachment {
            Attachment::Attached(current) => {
                if unix >= self.token_expires_at.plus(self.config.token_leeway) {
                    current.dismissal.get_or_insert(Dismissal::TokenExpired);
                } else if self.token_notice_due && unix >= self.token_expires_at.minus(TOKEN_NOTICE) {
                    self.token_notice_due = false;
                    self.token_notice_waiting = true;
                }
                TimedOut::default()
            }
            Attachment::Detached { since, .. } => {
                let idle = now.since(*since);
                let gone = self.here && idle >= self.config.presence_grace;
                let expired = idle >= self.config.resume_window;
                if gone || expired {
                    self.here = false;
                    self.ephemerals.clear();
                }
                TimedOut { gone, expired }
            }
        }
    }

    /// When [`Session::handle_timeout`] has something to do.
    #[must_use]
    pub fn next_deadline(&self, now: Tick, unix: UnixMillis) -> Tick {
        let at_unix = |at: UnixMillis| Tick(now.0.saturating_add(at.0.saturating_sub(unix.0)));
        match &self.attachment {
            // It has been told to go and will detach.
            Attachment::Attached(current) if current.dismissal.is_some() => {
                now.plus(self.config.resume_window)
            }
            Attachment::Attached(_) if self.token_notice_due => {
                at_unix(self.token_expires_at.minus(TOKEN_NOTICE))
            }
            Attachment::Attached(_) => at_unix(self.token_expires_at.plus(self.config.token_leeway)),
            Attachment::Detached { since, .. } if self.here => {
                since.plus(self.config.presence_grace.min(self.config.resume_window))
            }
            Attachment::Detached { since, .. } => since.plus(self.config.resume_window),
        }
    }
}
