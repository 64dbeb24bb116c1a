//! Who is asking, and what for.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::ids::UserId;
use crate::domain::time::UnixMillis;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes {
    /// Attach, subscribe, read history.
    pub read: bool,
    /// Send, type, mark as read.
    pub write: bool,
}

/// A verified caller. Only an [`Authenticator`] makes one from credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The token's subject.
    pub user_id: UserId,
    /// What the token allows.
    pub scopes: Scopes,
    /// The token's `exp`, without leeway.
    pub expires_at: UnixMillis,
}

/// Why credentials are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// None, malformed, wrong signature, wrong issuer or audience.
    #[error("the token is missing or does not verify")]
    Unauthorized,
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// No usable keys right now.
    #[error("the signing keys are not available")]
    Unavailable,
}

/// Verifies bearer tokens.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Verifies a JWT (RFC 7519) as `Authorization: Bearer` carries it.
    ///
    /// # Errors
    /// [`AuthError`]; never says which check failed.
    async fn verify(&self, token: &str) -> Result<Identity, AuthError>;

    /// How long after `exp` a token still counts.
    fn leeway(&self) -> Duration;
}

/// One-use stand-ins for a token, for clients that can't set headers.
#[async_trait]
pub trait TicketStore: Send + Sync {
    /// Issues a ticket that is good once within [`TICKET_TTL`]: 128 random bits or more, `[A-Za-z0-9_-]`.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`] when no ticket can be kept.
    async fn issue(&self, identity: &Identity) -> Result<String, AuthError>;

    /// Takes a ticket: the second time it is unknown.
    ///
    /// # Errors
    /// [`AuthError::Unauthorized`] for an unknown, used or old ticket; [`AuthError::Unavailable`] when nobody can tell.
    async fn redeem(&self, ticket: &str) -> Result<Identity, AuthError>;
}

/// How long a ticket is good.
pub const TICKET_TTL: Duration = Duration::from_secs(30);
