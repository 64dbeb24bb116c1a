//! Who a token says its bearer is, once everything about it has been checked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm, DecodingKey};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio_util::sync::CancellationToken;

use super::config::{Config, KeyOrigin, ScopeNames, SetupError};
use super::jwks;
use super::keyring::{FetchCounts, FetchedKeys, KeyGeneration, Keyring};
use super::keys::{KeySet, Lookup};
use super::source::{FileSource, JwksSource, UrlSource};
use super::token::{Claims, MalformedToken, TOKEN_MAX_BYTES, UnverifiedToken};
use crate::application::ports::auth::{AuthError, Authenticator, Identity, Scopes};
use crate::application::ports::clock::Clock;
use crate::application::ports::telemetry::labels::FetchOutcome;
use crate::application::ports::telemetry::measure::{Gauges, Measure};
use crate::application::vital::VitalTasks;
use crate::domain::ids::UserId;
use crate::domain::time::UnixMillis;

/// How many verified tokens are remembered, so that a reconnect costs a hash and not a signature.
pub const VERIFIED_TOKENS_MAX: usize = 16_384;
/// The end of the year 9999: an `exp` beyond it is cut, so that nobody's time arithmetic overflows.
const LATEST: UnixMillis = UnixMillis(253_402_300_799_999);

/// Verifies JWTs (RFC 7519), by the rules of RFC 8725.
pub struct JwtVerifier {
    keyring: Keyring,
    algorithms: Vec<Algorithm>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway: Duration,
    scopes: ScopeNames,
    clock: Arc<dyn Clock>,
    verified: Cache<TokenDigest, Verified>,
}

/// Remembered instead of the token, which is a secret.
type TokenDigest = [u8; digest::SHA256_OUTPUT_LEN];

/// What stays true of a token for as long as the keys do. The time is judged anew whenever it is shown.
#[derive(Clone)]
struct Verified {
    identity: Identity,
    not_before: UnixMillis,
    generation: u64,
}

impl JwtVerifier {
    /// Sets up the keys. If they are to be fetched, a task on `tasks` begins to do so at once and goes on until
    /// `shutdown` or until the verifier is dropped; the call does not wait for it, and an issuer that is down stops
    /// nothing but verifying.
    ///
    /// # Errors
    /// [`SetupError`] for what will not get better by waiting.
    ///
    /// # Panics
    /// Outside of a tokio runtime, if keys are to be fetched.
    pub fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        tasks: &VitalTasks,
        shutdown: &CancellationToken,
    ) -> Result<Self, SetupError> {
        config.validate()?;
        let interval = config.refresh_interval;
        let fetched = |source: Box<dyn JwksSource>| {
            Keyring::Fetched(FetchedKeys::start(source, interval, Arc::clone(&clock), tasks, shutdown))
        };
        let keyring = match &config.keys {
            KeyOrigin::JwksUrl(url) => fetched(Box::new(UrlSource::new(url)?)),
            KeyOrigin::JwksFile(path) => fetched(Box::new(FileSource { path: path.clone() })),
            KeyOrigin::Jwks(json) => {
                let keys = jwks::parse(json.as_bytes()).map_err(|_| SetupError::NoUsableKey)?.keys;
                if keys.is_empty() {
                    return Err(SetupError::NoUsableKey);
                }
                Keyring::fixed(keys)
            }
            KeyOrigin::HmacSecretFile(path) => {
                let secret = SecretSlice::from(std::fs::read(path).map_err(SetupError::SecretFile)?);
                Keyring::fixed(KeySet::Secret(shared_secret(&secret, &config.algorithms)?))
            }
        };
        Ok(Self::with_keyring(keyring, config, clock))
    }

    /// A verifier with keys from elsewhere; `config.keys` is not looked at.
    #[must_use]
    pub fn with_keyring(keyring: Keyring, config: Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            keyring,
            algorithms: config.algorithms,
            issuer: config.issuer,
            audience: config.audience,
            leeway: config.leeway,
            scopes: config.scopes,
            clock,
            verified: Cache::new(VERIFIED_TOKENS_MAX),
        }
    }

    /// How fetches of the JWK set went.
    #[must_use]
    pub fn jwks_fetches(&self) -> FetchCounts {
        self.keyring.fetch_counts()
    }

    /// Whether there is any key that a token could be verified with.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.key_count() > 0
    }

    fn key_count(&self) -> usize {
        self.keyring.current().map_or(0, |generation| generation.keys.len())
    }

    /// The keys for a token. If they lack the one it names, it may be newer than they are: then after another look.
    async fn keys_for(&self, token: &UnverifiedToken<'_>) -> Result<Arc<KeyGeneration>, AuthError> {
        let lacks_key = |keys: &Arc<KeyGeneration>| {
            matches!(keys.keys.find(token.kid.as_deref(), token.algorithm), Lookup::Unknown)
        };
        if let Some(keys) = self.keyring.current().filter(|keys| !lacks_key(keys)) {
            return Ok(keys);
        }
        self.keyring.look_again().await;
        self.keyring.current().filter(|keys| !keys.keys.is_empty()).ok_or(AuthError::Unavailable)
    }

    /// Everything about a token that does not change with time.
    fn check(&self, token: &UnverifiedToken<'_>, keys: &KeyGeneration) -> Result<Verified, AuthError> {
        let Lookup::Key(key) = keys.keys.find(token.kid.as_deref(), token.algorithm) else {
            return Err(AuthError::Unauthorized);
        };
        let signed = token.signed.as_bytes();
        if !jsonwebtoken::crypto::verify(token.signature, signed, key, token.algorithm).unwrap_or(false) {
            return Err(AuthError::Unauthorized);
        }
        let claims = token.claims()?;
        let issuer_fits = self.issuer.is_none() || self.issuer == claims.iss;
        let audience_fits = self
            .audience
            .as_ref()
            .is_none_or(|audience| claims.aud.as_ref().is_some_and(|aud| aud.contains(audience)));
        if !issuer_fits || !audience_fits {
            return Err(AuthError::Unauthorized);
        }
        let user_id = UserId::parse(&claims.sub).map_err(|_| AuthError::Unauthorized)?;
        let scopes = self.scopes_of(&claims);
        Ok(Verified {
            identity: Identity { user_id, scopes, expires_at: numeric_date(claims.exp) },
            not_before: claims.nbf.map_or(UnixMillis(0), numeric_date),
            generation: keys.number,
        })
    }

    fn scopes_of(&self, claims: &Claims) -> Scopes {
        let has = |name: &str| claims.scope.as_ref().is_some_and(|scope| scope.has_word(name));
        Scopes { read: has(&self.scopes.read), write: has(&self.scopes.write) }
    }

    /// Whether a token that is good in every other way is good now.
    fn in_time(&self, token: &Verified) -> Result<(), AuthError> {
        let now = self.clock.unix();
        if token.not_before > now.plus(self.leeway) {
            Err(AuthError::Unauthorized)
        } else if token.identity.expires_at.plus(self.leeway) <= now {
            Err(AuthError::Expired)
        } else {
            Ok(())
        }
    }
}

impl Gauges for JwtVerifier {
    fn measure(&self, note: &mut dyn FnMut(Measure, f64)) {
        let FetchCounts { ok, failed } = self.jwks_fetches();
        note(Measure::JwksFetches(FetchOutcome::Ok), ok as f64);
        note(Measure::JwksFetches(FetchOutcome::Failed), failed as f64);
        note(Measure::JwksKeys, self.key_count() as f64);
        if let Some(age) = self.keyring.age() {
            note(Measure::JwksAge, age.as_secs_f64());
        }
    }
}

#[async_trait]
impl Authenticator for JwtVerifier {
    async fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(AuthError::Unauthorized);
        }
        let digest = sha256(token);
        if let Some(keys) = self.keyring.current()
            && let Some(known) = self.verified.get(&digest)
            && known.generation == keys.number
        {
            self.in_time(&known)?;
            return Ok(known.identity);
        }
        let token = UnverifiedToken::parse(token)?;
        if !self.algorithms.contains(&token.algorithm) {
            return Err(AuthError::Unauthorized);
        }
        let keys = self.keys_for(&token).await?;
        let verified = self.check(&token, &keys)?;
        self.in_time(&verified)?;
        let identity = verified.identity.clone();
        self.verified.insert(digest, verified);
        Ok(identity)
    }

    fn leeway(&self) -> Duration {
        self.leeway
    }
}

impl From<MalformedToken> for AuthError {
    fn from(_: MalformedToken) -> Self {
        Self::Unauthorized
    }
}

fn sha256(token: &str) -> TokenDigest {
    let mut bytes = TokenDigest::default();
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    bytes
}

/// RFC 7519 section 2, "NumericDate": seconds since 1970, perhaps with a fraction.
fn numeric_date(seconds: f64) -> UnixMillis {
    // The cast saturates: what is below zero becomes zero.
    UnixMillis((seconds * 1000.0) as u64).min(LATEST)
}

fn shared_secret(secret: &SecretSlice<u8>, algorithms: &[Algorithm]) -> Result<DecodingKey, SetupError> {
    let text = secret.expose_secret();
    let line_ends = text.iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let secret = &text[..text.len() - line_ends];
    for &algorithm in algorithms {
        let needed = match algorithm {
            Algorithm::HS384 => digest::SHA384_OUTPUT_LEN,
            Algorithm::HS512 => digest::SHA512_OUTPUT_LEN,
            _ => digest::SHA256_OUTPUT_LEN,
        };
        if secret.len() < needed {
            return Err(SetupError::ShortSecret(algorithm, needed));
        }
    }
    Ok(DecodingKey::from_secret(secret))
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod key_tests;
#[cfg(test)]
mod tests;
