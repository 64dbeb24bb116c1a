//! Tickets that any node redeems.

use async_trait::async_trait;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::commands::RedisCommands;
use crate::application::ports::auth::{AuthError, Identity, Scopes, TICKET_TTL, TicketStore};
use crate::domain::ids::UserId;
use crate::domain::time::{UnixMillis, whole_millis};

/// Randomness of a ticket: 192 bits, a multiple of three bytes so that base64 comes out even.
const TICKET_BYTES: usize = 24;
/// Characters of a ticket.
const TICKET_CHARS: usize = TICKET_BYTES / 3 * 4;

/// One-use tickets, good on every node.
pub struct RedisTickets {
    commands: RedisCommands,
}

#[derive(Serialize, Deserialize)]
struct Issued {
    user: String,
    read: bool,
    write: bool,
    expires_at: u64,
}

impl RedisTickets {
    /// The tickets that all nodes share.
    #[must_use]
    pub fn new(commands: RedisCommands) -> Self {
        Self { commands }
    }

    /// A ticket is a secret: what lies in Redis must not be good for anything.
    fn key(&self, ticket: &str) -> String {
        let digest = digest::digest(&digest::SHA256, ticket.as_bytes());
        self.commands.keys().ticket(&URL_SAFE_NO_PAD.encode(digest))
    }
}

#[async_trait]
impl TicketStore for RedisTickets {
    async fn issue(&self, identity: &Identity) -> Result<String, AuthError> {
        let mut random = [0; TICKET_BYTES];
        getrandom::fill(&mut random).map_err(|_| AuthError::Unavailable)?;
        let ticket = URL_SAFE_NO_PAD.encode(random);
        let issued = Issued {
            user: identity.user_id.to_string(),
            read: identity.scopes.read,
            write: identity.scopes.write,
            expires_at: identity.expires_at.0,
        };
        let issued = serde_json::to_string(&issued).map_err(|_| AuthError::Unavailable)?;
        let mut set = redis::cmd("SET");
        set.arg(self.key(&ticket)).arg(issued).arg("PX").arg(whole_millis(TICKET_TTL));
        self.commands.query::<()>(&set).await.map_err(|_| AuthError::Unavailable)?;
        Ok(ticket)
    }

    async fn redeem(&self, ticket: &str) -> Result<Identity, AuthError> {
        if ticket.len() != TICKET_CHARS {
            return Err(AuthError::Unauthorized);
        }
        let mut take = redis::cmd("GETDEL");
        take.arg(self.key(ticket));
        let issued: Option<String> = self.commands.query(&take).await.map_err(|_| AuthError::Unavailable)?;
        issued.as_deref().and_then(identity).ok_or(AuthError::Unauthorized)
    }
}

fn identity(issued: &str) -> Option<Identity> {
    let issued: Issued = serde_json::from_str(issued).ok()?;
    Some(Identity {
        user_id: UserId::parse(&issued.user).ok()?,
        scopes: Scopes { read: issued.read, write: issued.write },
        expires_at: UnixMillis(issued.expires_at),
    })
}
