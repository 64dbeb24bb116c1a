//! Who has sent what already, over all nodes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::commands::RedisCommands;
use super::script::Script;
use crate::application::ports::bus::BusError;
use crate::application::ports::idempotency::{Claim, IdempotencyCache, SENT_TTL, SendReceipt};
use crate::domain::ids::{ClientMessageId, MessageId, UserId};
use crate::domain::time::{UnixMillis, whole_millis};

/// How often one who waits asks: ever less often, and never all at once.
const ASK_EVERY_FIRST: Duration = Duration::from_millis(10);
const ASK_EVERY_MAX: Duration = Duration::from_millis(250);
/// Most claims of this node that are known to be open; one over it is not released but expires.
const CLAIMS_MAX: usize = 100_000;

/// How long a claim holds.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// When a claim that nobody ends is over, so that a node's death holds nobody up: longer than any send.
    pub claim_ttl: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { claim_ttl: Duration::from_secs(15) }
    }
}

type SendKey = (UserId, ClientMessageId);
/// Names one claim among those of all nodes.
type Claimant = String;

/// Remembers sends in Redis, a hash for each.
pub struct RedisIdempotency {
    config: Config,
    commands: RedisCommands,
    tasks: TaskTracker,
    scripts: Arc<Scripts>,
    open: Mutex<OpenClaims>,
}

struct Scripts {
    claim: Script,
    complete: Script,
    release: Script,
}

/// This node's claims. Those who send the same at the same time are all alike, so any of them may end any claim.
#[derive(Default)]
struct OpenClaims {
    /// `None` where Redis could not be asked, so that there is nothing to take back.
    by_send: HashMap<SendKey, Vec<Option<Claimant>>>,
}

enum Look {
    Known(Claim),
    Underway,
}

impl RedisIdempotency {
    /// The memory that all nodes share. Claims are taken back by tasks of their own.
    #[must_use]
    pub fn new(config: Config, commands: RedisCommands, tasks: TaskTracker) -> Self {
        let scripts = Scripts {
            claim: Script::new(include_str!("sent_claim.lua")),
            complete: Script::new(include_str!("sent_complete.lua")),
            release: Script::new(include_str!("sent_release.lua")),
        };
        Self { config, commands, tasks, scripts: Arc::new(scripts), open: Mutex::default() }
    }

    async fn look(&self, key: &SendKey, fingerprint: u64, join: bool) -> Result<Look, BusError> {
        let claimant = uuid::Uuid::now_v7().simple().to_string();
        let call = self
            .scripts
            .claim
            .call()
            .key(self.commands.keys().sent(&key.0, &key.1))
            .arg(fingerprint.to_string())
            .arg(&claimant)
            .arg(whole_millis(self.config.claim_ttl))
            .arg(if join { "join" } else { "" });
        let known: Vec<String> = self.commands.script(&call).await?;
        match known.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["fresh"] => {
                self.note(key, Some(claimant));
                Ok(Look::Known(Claim::Fresh))
            }
            ["underway"] => Ok(Look::Underway),
            ["conflict"] => Ok(Look::Known(Claim::Conflict)),
            ["done", message_id, seq, created_at] => {
                let receipt = receipt(message_id, seq, created_at).ok_or(BusError::Unavailable)?;
                Ok(Look::Known(Claim::Done(receipt)))
            }
            _ => Err(BusError::Unavailable),
        }
    }

    fn note(&self, key: &SendKey, claimant: Option<Claimant>) {
        let mut open = self.open.lock();
        if open.by_send.len() < CLAIMS_MAX {
            open.by_send.entry(key.clone()).or_default().push(claimant);
        }
    }

    /// Forgets one of this node's claims.
    fn take(&self, key: &SendKey) -> Option<Claimant> {
        let mut open = self.open.lock();
        let claimants = open.by_send.get_mut(key)?;
        let claimant = claimants.pop().flatten();
        if claimants.is_empty() {
            open.by_send.remove(key);
        }
        claimant
    }
}

#[async_trait]
impl IdempotencyCache for RedisIdempotency {
    async fn claim(
        &self,
        user: &UserId,
        id: &ClientMessageId,
        fingerprint: u64,
        patience: Duration,
    ) -> Claim {
        let key = (user.clone(), id.clone());
        let until = Instant::now() + patience;
        let mut wait = ASK_EVERY_FIRST;
        let mut join = patience.is_zero();
        loop {
            match self.look(&key, fingerprint, join).await {
                Ok(Look::Known(claim)) => return claim,
                Ok(Look::Underway) => {}
                Err(_) => {
                    self.note(&key, None);
                    return Claim::Fresh;
                }
            }
            let next = Instant::now() + wait.mul_f64(0.5 + fastrand::f64() / 2.0);
            tokio::time::sleep_until(next.min(until)).await;
            join = next >= until;
            wait = (wait * 2).min(ASK_EVERY_MAX);
        }
    }

    async fn complete(&self, user: &UserId, id: &ClientMessageId, fingerprint: u64, receipt: &SendReceipt) {
        self.take(&(user.clone(), id.clone()));
        let call = self
            .scripts
            .complete
            .call()
            .key(self.commands.keys().sent(user, id))
            .arg(whole_millis(SENT_TTL))
            .arg(("fingerprint", fingerprint.to_string()))
            .arg(("message_id", receipt.message_id.as_str()))
            .arg(("seq", receipt.seq))
            .arg(("created_at", receipt.created_at.0));
        // Forgotten: then the Store tells a repeat from a new message.
        let _ = self.commands.script::<()>(&call).await;
    }

    fn release(&self, user: &UserId, id: &ClientMessageId) {
        let Some(claimant) = self.take(&(user.clone(), id.clone())) else { return };
        let (commands, scripts) = (self.commands.clone(), self.scripts.clone());
        let key = commands.keys().sent(user, id);
        self.tasks.spawn(async move {
            let call = scripts.release.call().key(key).arg(claimant);
            // Else it expires.
            let _ = commands.script::<()>(&call).await;
        });
    }
}

fn receipt(message_id: &str, seq: &str, created_at: &str) -> Option<SendReceipt> {
    Some(SendReceipt {
        message_id: MessageId::parse(message_id).ok()?,
        seq: seq.parse().ok()?,
        created_at: UnixMillis(created_at.parse().ok()?),
    })
}
