//! Tokens for the simulated clients, signed as the gateway under test expects it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgeway::adapters::outbound::auth::config::ScopeNames;
use edgeway::adapters::outbound::auth::issuer::{self, TokenIssuer};
use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::application::ports::auth::Scopes;
use edgeway::domain::ids::UserId;

const TTL: Duration = Duration::from_secs(3600);

/// What `iss` and `aud` are where everything runs in one process.
const DEVELOPMENT: &str = "edgeway-dev";

pub(crate) fn issuer_config() -> issuer::Config {
    issuer::Config {
        issuer: Some(DEVELOPMENT.to_owned()),
        audience: Some(DEVELOPMENT.to_owned()),
        scopes: ScopeNames::default(),
    }
}

/// An Ed25519 key in a file that the gateway reads, too.
pub(crate) struct Tokens {
    issuer: TokenIssuer,
    path: PathBuf,
}

impl Tokens {
    pub(crate) fn generate(directory: &Path) -> anyhow::Result<Self> {
        let issuer = TokenIssuer::generate(issuer_config(), Arc::new(SystemClock::start()))?;
        let path = directory.join("key.pem");
        issuer.save(&path)?;
        Ok(Self { issuer, path })
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }

    pub(crate) fn for_user(&self, number: usize) -> anyhow::Result<Arc<str>> {
        let user = UserId::parse(&format!("u{number}"))?;
        Ok(self.issuer.issue(&user, TTL, Scopes { read: true, write: true })?.token.into())
    }
}
