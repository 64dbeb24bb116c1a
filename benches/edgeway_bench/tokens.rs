//! Tokens for the simulated clients, signed as the gateway under test expects it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgeway::adapters::outbound::auth::config::ScopeNames;
use edgeway::adapters::outbound::auth::issuer::{self, TokenIssuer};
use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::application::ports::auth::Scopes;
use edgeway::application::ports::clock::Clock;
use edgeway::domain::ids::UserId;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

const TTL: Duration = Duration::from_secs(3600);

/// Of HS256 at least 32 bytes (RFC 7518 §3.2).
const SECRET_CHARS: usize = 48;

/// What `iss` and `aud` are where everything runs in one process.
const DEVELOPMENT: &str = "edgeway-dev";

pub(crate) fn issuer_config() -> issuer::Config {
    issuer::Config {
        issuer: Some(DEVELOPMENT.to_owned()),
        audience: Some(DEVELOPMENT.to_owned()),
        scopes: ScopeNames::default(),
    }
}

/// What signs tokens, in a file that the gateway reads, too.
pub(crate) struct Tokens {
    signer: Signer,
    path: PathBuf,
}

enum Signer {
    Ed25519(Box<TokenIssuer>),
    Hmac(EncodingKey),
}

impl Tokens {
    /// With a private key, of which the gateway uses the public half.
    pub(crate) fn generate(directory: &Path) -> anyhow::Result<Self> {
        let issuer = TokenIssuer::generate(issuer_config(), Arc::new(SystemClock::start()))?;
        let path = directory.join("key.pem");
        issuer.save(&path)?;
        Ok(Self { signer: Signer::Ed25519(Box::new(issuer)), path })
    }

    /// With a secret that the gateway shares.
    pub(crate) fn generate_shared(directory: &Path) -> anyhow::Result<Self> {
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric).take(SECRET_CHARS).collect();
        let path = directory.join("key.secret");
        std::fs::write(&path, &secret)?;
        Ok(Self { signer: Signer::Hmac(EncodingKey::from_secret(secret.as_bytes())), path })
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }

    pub(crate) fn for_user(&self, number: usize) -> anyhow::Result<Arc<str>> {
        let user = UserId::parse(&format!("u{number}"))?;
        Ok(match &self.signer {
            Signer::Ed25519(issuer) => {
                issuer.issue(&user, TTL, Scopes { read: true, write: true })?.token.into()
            }
            Signer::Hmac(key) => {
                let ScopeNames { read, write } = ScopeNames::default();
                let claims = json!({
                    "sub": user.as_str(),
                    "exp": SystemClock::start().unix().plus(TTL).0 / 1000,
                    "scope": format!("{read} {write}"),
                    "iss": DEVELOPMENT,
                    "aud": DEVELOPMENT,
                });
                jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, key)?.into()
            }
        })
    }
}
