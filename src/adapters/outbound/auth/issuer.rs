//! Tokens for development: an issuer that is its own authority.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::Serialize;

use super::config::ScopeNames;
use crate::application::ports::auth::Scopes;
use crate::application::ports::clock::Clock;
use crate::domain::ids::UserId;
use crate::domain::time::UnixMillis;

/// Longest life of a development token: a year.
pub const TOKEN_TTL_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The key file is for its owner alone.
const KEY_FILE_MODE: u32 = 0o600;

/// What the tokens say besides who and until when; the same as the verifier expects.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `iss`, if any.
    pub issuer: Option<String>,
    /// `aud`, if any.
    pub audience: Option<String>,
    /// What the scopes are called.
    pub scopes: ScopeNames,
}

/// The issuer can't do its work.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// No key could be made.
    #[error("no key could be generated")]
    Generate,
    /// The file can't be read or written; an existing one is never overwritten.
    #[error("the key file can't be read or written")]
    KeyFile(#[from] std::io::Error),
    /// The file holds something else than an Ed25519 key as PKCS#8 in PEM.
    #[error("the key file does not hold an Ed25519 private key in PKCS#8 PEM")]
    NotAKey,
    /// Signing failed.
    #[error("the token could not be signed")]
    Sign,
}

/// A signed token. It has no `Debug`, so that it doesn't get into a log by accident.
pub struct IssuedToken {
    /// The JWT.
    pub token: String,
    /// Its `exp`, in whole seconds.
    pub expires_at: UnixMillis,
}

/// Issues tokens signed with its own Ed25519 key. For development and tests: it asks nobody for a password.
pub struct TokenIssuer {
    key: EncodingKey,
    public: Jwk,
    config: Config,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

impl TokenIssuer {
    /// An issuer with a new key.
    ///
    /// # Errors
    /// [`IssuerError::Generate`]
    pub fn generate(config: Config, clock: Arc<dyn Clock>) -> Result<Self, IssuerError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| IssuerError::Generate)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| IssuerError::Generate)?;
        Self::with_key(EncodingKey::from_ed_der(pkcs8.as_ref()), config, clock)
    }

    /// An issuer with the key of a file that [`TokenIssuer::save`] or `openssl genpkey -algorithm ed25519` wrote.
    ///
    /// # Errors
    /// [`IssuerError::KeyFile`] and [`IssuerError::NotAKey`]
    pub fn load(path: &Path, config: Config, clock: Arc<dyn Clock>) -> Result<Self, IssuerError> {
        let pem = SecretSlice::from(std::fs::read(path)?);
        let key = EncodingKey::from_ed_pem(pem.expose_secret()).map_err(|_| IssuerError::NotAKey)?;
        Self::with_key(key, config, clock)
    }

    fn with_key(key: EncodingKey, config: Config, clock: Arc<dyn Clock>) -> Result<Self, IssuerError> {
        let mut public = Jwk::from_encoding_key(&key, Algorithm::EdDSA).map_err(|_| IssuerError::NotAKey)?;
        // RFC 7638: the same key has the same name wherever it is loaded.
        let kid = public.thumbprint(ThumbprintHash::SHA256).map_err(|_| IssuerError::NotAKey)?;
        public.common.key_id = Some(kid);
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { key, public, config, clock })
    }

    /// Writes the private key to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`IssuerError::KeyFile`], also if the file exists.
    pub fn save(&self, path: &Path) -> Result<(), IssuerError> {
        let base64 = SecretString::from(STANDARD.encode(self.key.as_bytes()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(KEY_FILE_MODE).open(path)?;
        writeln!(file, "-----BEGIN PRIVATE KEY-----")?;
        // RFC 7468: 64 characters a line, which is just what the 48 bytes of an Ed25519 key come to.
        writeln!(file, "{}", base64.expose_secret())?;
        writeln!(file, "-----END PRIVATE KEY-----")?;
        Ok(())
    }

    /// Issues a token that is good from now on for `ttl`, at most [`TOKEN_TTL_MAX`].
    ///
    /// # Errors
    /// [`IssuerError::Sign`]
    pub fn issue(&self, user: &UserId, ttl: Duration, scopes: Scopes) -> Result<IssuedToken, IssuerError> {
        let now = self.clock.unix();
        let exp = now.plus(ttl.min(TOKEN_TTL_MAX)).0 / 1000;
        let names = &self.config.scopes;
        let granted = [(scopes.read, &names.read), (scopes.write, &names.write)];
        let granted: Vec<&str> =
            granted.into_iter().filter(|(granted, _)| *granted).map(|(_, name)| name.as_str()).collect();
        let claims = Claims {
            sub: user.as_str(),
            iat: now.0 / 1000,
            exp,
            scope: granted.join(" "),
            iss: self.config.issuer.as_deref(),
            aud: self.config.audience.as_deref(),
        };
        let header = Header { kid: self.public.common.key_id.clone(), ..Header::new(Algorithm::EdDSA) };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_| IssuerError::Sign)?;
        Ok(IssuedToken { token, expires_at: UnixMillis(exp * 1000) })
    }

    /// The public key as a JWK set (RFC 7517 section 5).
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: vec![self.public.clone()] }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tokio_util::sync::CancellationToken;

    use super::super::config::{self, KeyOrigin};
    use super::super::verifier::JwtVerifier;
    use super::*;
    use crate::application::ports::auth::{AuthError, Authenticator as _};
    use crate::application::ports::clock::ManualClock;
    use crate::application::vital::VitalTasks;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_500);

    fn verifier_for(issuer: &TokenIssuer, clock: Arc<ManualClock>) -> JwtVerifier {
        let jwks = serde_json::to_string(&issuer.jwks()).unwrap();
        let mut config = config::Config::new(KeyOrigin::Jwks(jwks));
        config.issuer.clone_from(&issuer.config.issuer);
        config.audience.clone_from(&issuer.config.audience);
        JwtVerifier::start(config, clock, &VitalTasks::default(), &CancellationToken::new()).unwrap()
    }

    fn config() -> Config {
        Config { issuer: Some("dev".to_owned()), audience: Some("edgeway".to_owned()), ..Config::default() }
    }

    #[tokio::test]
    async fn its_tokens_verify_with_its_keys_until_they_expire() {
        let clock = Arc::new(ManualClock::at(NOW));
        let issuer = TokenIssuer::generate(config(), clock.clone()).unwrap();
        let verifier = verifier_for(&issuer, Arc::clone(&clock));
        let alice = UserId::parse("alice").unwrap();
        let scopes = Scopes { read: true, write: false };
        let issued = issuer.issue(&alice, Duration::from_secs(60), scopes).unwrap();
        assert_eq!(issued.expires_at, UnixMillis(1_790_000_060_000));
        let identity = verifier.verify(&issued.token).await.unwrap();
        assert_eq!((identity.user_id, identity.scopes), (alice, scopes));
        assert_eq!(identity.expires_at, issued.expires_at);
        clock.advance(Duration::from_secs(91));
        assert_eq!(verifier.verify(&issued.token).await, Err(AuthError::Expired));
    }

    #[tokio::test]
    async fn a_saved_key_comes_back_and_signs_for_the_same_set() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let clock = Arc::new(ManualClock::at(NOW));
        let issuer = TokenIssuer::generate(config(), clock.clone()).unwrap();
        issuer.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(issuer.save(&path), Err(IssuerError::KeyFile(_))), "never overwritten");

        let loaded = TokenIssuer::load(&path, config(), clock.clone()).unwrap();
        assert_eq!(loaded.jwks(), issuer.jwks());
        let bob = UserId::parse("bob").unwrap();
        let issued = loaded.issue(&bob, Duration::from_secs(60), Scopes::default()).unwrap();
        assert!(verifier_for(&issuer, clock).verify(&issued.token).await.is_ok());
    }

    #[test]
    fn a_file_that_is_no_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let load = || TokenIssuer::load(&path, Config::default(), Arc::clone(&clock)).err();
        assert!(matches!(load(), Some(IssuerError::KeyFile(_))));
        for bad in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(load(), Some(IssuerError::NotAKey)), "{bad}");
        }
    }
}
