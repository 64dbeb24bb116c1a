//! Tickets of one node, in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::application::ports::auth::{AuthError, Identity, TICKET_TTL, TicketStore};
use crate::application::ports::clock::Clock;
use crate::domain::time::Tick;

/// How many tickets wait to be redeemed at the most.
pub const TICKETS_MAX: usize = 65_536;
/// Randomness of a ticket: 192 bits, a multiple of three bytes so that base64 comes out even.
const TICKET_BYTES: usize = 24;

type Ticket = Arc<str>;

/// One-use tickets, good on this node alone.
///
/// All live equally long, so the order they were issued in is the order they expire in.
pub struct MemoryTickets {
    clock: Arc<dyn Clock>,
    tickets: Mutex<Tickets>,
}

#[derive(Default)]
struct Tickets {
    identities: HashMap<Ticket, Issued>,
    /// Also holds tickets that were redeemed meanwhile, until their time is over: [`TICKETS_MAX`] counts them too.
    oldest_first: VecDeque<(Tick, Ticket)>,
}

struct Issued {
    identity: Identity,
    expires_at: Tick,
}

impl MemoryTickets {
    /// No tickets yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, tickets: Mutex::default() }
    }
}

impl Tickets {
    fn forget_expired(&mut self, now: Tick) {
        while let Some((expires_at, ticket)) = self.oldest_first.front()
            && *expires_at <= now
        {
            self.identities.remove(ticket);
            self.oldest_first.pop_front();
        }
    }
}

#[async_trait]
impl TicketStore for MemoryTickets {
    async fn issue(&self, identity: &Identity) -> Result<String, AuthError> {
        let mut random = [0; TICKET_BYTES];
        getrandom::fill(&mut random).map_err(|_| AuthError::Unavailable)?;
        let ticket = URL_SAFE_NO_PAD.encode(random);
        let now = self.clock.tick();
        let expires_at = now.plus(TICKET_TTL);
        let mut tickets = self.tickets.lock();
        tickets.forget_expired(now);
        if tickets.oldest_first.len() >= TICKETS_MAX {
            return Err(AuthError::Unavailable);
        }
        let key = Ticket::from(ticket.as_str());
        tickets.oldest_first.push_back((expires_at, Arc::clone(&key)));
        tickets.identities.insert(key, Issued { identity: identity.clone(), expires_at });
        Ok(ticket)
    }

    async fn redeem(&self, ticket: &str) -> Result<Identity, AuthError> {
        let now = self.clock.tick();
        let issued = self.tickets.lock().identities.remove(ticket);
        issued
            .filter(|issued| now < issued.expires_at)
            .map(|issued| issued.identity)
            .ok_or(AuthError::Unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::application::ports::auth::Scopes;
    use crate::application::ports::clock::ManualClock;
    use crate::domain::ids::UserId;
    use crate::domain::time::UnixMillis;

    fn tickets() -> (Arc<ManualClock>, MemoryTickets, Identity) {
        let clock = Arc::new(ManualClock::default());
        let identity = Identity {
            user_id: UserId::parse("alice").unwrap(),
            scopes: Scopes { read: true, write: false },
            expires_at: UnixMillis(7),
        };
        (Arc::clone(&clock), MemoryTickets::new(clock), identity)
    }

    #[tokio::test]
    async fn a_ticket_is_good_once() {
        let (_, tickets, alice) = tickets();
        let ticket = tickets.issue(&alice).await.unwrap();
        assert!(
            ticket.len() >= 22 && ticket.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        );
        assert_ne!(ticket, tickets.issue(&alice).await.unwrap());
        assert_eq!(tickets.redeem(&ticket).await, Ok(alice));
        assert_eq!(tickets.redeem(&ticket).await, Err(AuthError::Unauthorized));
        assert_eq!(tickets.redeem("guessed").await, Err(AuthError::Unauthorized));
    }

    #[tokio::test]
    async fn a_ticket_is_good_for_30_seconds() {
        let (clock, tickets, alice) = tickets();
        let (early, late) = (tickets.issue(&alice).await.unwrap(), tickets.issue(&alice).await.unwrap());
        clock.advance(TICKET_TTL - Duration::from_millis(1));
        assert!(tickets.redeem(&early).await.is_ok());
        clock.advance(Duration::from_millis(1));
        assert_eq!(tickets.redeem(&late).await, Err(AuthError::Unauthorized));
    }

    #[tokio::test]
    async fn tickets_are_bounded_and_make_room_when_they_expire() {
        let (clock, tickets, alice) = tickets();
        for _ in 0..TICKETS_MAX {
            tickets.issue(&alice).await.unwrap();
        }
        assert_eq!(tickets.issue(&alice).await, Err(AuthError::Unavailable));
        clock.advance(TICKET_TTL);
        assert!(tickets.issue(&alice).await.is_ok());
        assert_eq!(tickets.tickets.lock().identities.len(), 1);
    }

    #[tokio::test]
    async fn only_one_of_many_gets_it() {
        let (_, tickets, alice) = tickets();
        let ticket = tickets.issue(&alice).await.unwrap();
        let tickets = Arc::new(tickets);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let (tickets, ticket) = (Arc::clone(&tickets), ticket.clone());
            tasks.spawn(async move { tickets.redeem(&ticket).await.is_ok() });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
    }
}
