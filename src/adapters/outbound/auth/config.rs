//! What an operator decides about tokens.

use std::path::PathBuf;
use std::time::Duration;

pub use jsonwebtoken::Algorithm;
use jsonwebtoken::AlgorithmFamily;

/// Leeway for clocks that disagree, if nothing else is said.
pub const LEEWAY_DEFAULT: Duration = Duration::from_secs(30);
/// Most leeway that makes sense: beyond it `exp` means little.
pub const LEEWAY_MAX: Duration = Duration::from_secs(300);
/// How often keys are fetched, if nothing else is said.
pub const REFRESH_INTERVAL_DEFAULT: Duration = Duration::from_secs(240);
/// A withdrawn key must stop working within five minutes; the fetch itself takes some of that.
pub const REFRESH_INTERVAL_MAX: Duration = Duration::from_secs(290);

/// Which tokens are good.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the keys come from.
    pub keys: KeyOrigin,
    /// The algorithms a token may be signed with: HMAC ones with a secret file, and only those; else none of them.
    pub algorithms: Vec<Algorithm>,
    /// The `iss` a token must carry; any if none.
    pub issuer: Option<String>,
    /// What a token's `aud` must contain; anything if none.
    pub audience: Option<String>,
    /// How far `exp` and `nbf` may be missed. At most [`LEEWAY_MAX`].
    pub leeway: Duration,
    /// What the scopes are called.
    pub scopes: ScopeNames,
    /// How often keys are fetched, jittered downwards by up to a fifth. At most [`REFRESH_INTERVAL_MAX`].
    pub refresh_interval: Duration,
}

/// Where the keys come from: exactly one place, so that a shared secret never stands beside public keys.
#[derive(Debug, Clone)]
pub enum KeyOrigin {
    /// A JWK set (RFC 7517 section 5) by https, or by http from this machine.
    JwksUrl(String),
    /// A JWK set in a file, read again at every refresh.
    JwksFile(PathBuf),
    /// A JWK set as JSON, fixed: what a development issuer in the same process publishes.
    Jwks(String),
    /// A secret shared with the issuer, of at least as many bytes as the hash gives (RFC 7518 section 3.2). Read once;
    /// line ends at its end don't count.
    HmacSecretFile(PathBuf),
}

/// What the scopes are called in the `scope` claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeNames {
    /// To attach, subscribe and read history.
    pub read: String,
    /// To send, type and mark as read.
    pub write: String,
}

impl Default for ScopeNames {
    fn default() -> Self {
        Self { read: "messages:read".to_owned(), write: "messages:write".to_owned() }
    }
}

/// The configuration can't be worked with. The texts name settings and files, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The allow-list is empty.
    #[error("no algorithm is allowed")]
    NoAlgorithm,
    /// HMAC without a secret, or a public-key algorithm with one.
    #[error(
        "{0:?} can't be verified with keys from this origin: HMAC needs a secret file and nothing else does"
    )]
    WrongAlgorithm(Algorithm),
    /// More leeway than sense.
    #[error("leeway is more than {} s", LEEWAY_MAX.as_secs())]
    LeewayTooLong,
    /// The refresh interval is zero or too long.
    #[error("the refresh interval is zero or more than {} s", REFRESH_INTERVAL_MAX.as_secs())]
    RefreshInterval,
    /// The URL is not one that keys may be fetched from.
    #[error("jwks_url: {0}")]
    Url(&'static str),
    /// The HTTP client could not be built.
    #[error("jwks_url: the HTTP client can't be set up (are there root certificates?)")]
    Client(#[source] reqwest::Error),
    /// The fixed JWK set has no key that can be used.
    #[error("the JWK set has no usable key")]
    NoUsableKey,
    /// The secret file can't be read.
    #[error("hmac_secret_file can't be read")]
    SecretFile(#[source] std::io::Error),
    /// The secret is too short for the hash.
    #[error("hmac_secret_file: {0:?} needs a secret of {1} bytes or more")]
    ShortSecret(Algorithm, usize),
}

impl Config {
    /// The defaults for keys from a place: RS256, ES256 and EdDSA for a JWK set, HS256 for a secret.
    #[must_use]
    pub fn new(keys: KeyOrigin) -> Self {
        let algorithms = match keys {
            KeyOrigin::HmacSecretFile(_) => vec![Algorithm::HS256],
            _ => vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
        };
        Self {
            keys,
            algorithms,
            issuer: None,
            audience: None,
            leeway: LEEWAY_DEFAULT,
            scopes: ScopeNames::default(),
            refresh_interval: REFRESH_INTERVAL_DEFAULT,
        }
    }

    /// Checks what can be checked without reading anything.
    ///
    /// # Errors
    /// [`SetupError`] that names the first thing wrong.
    pub fn validate(&self) -> Result<(), SetupError> {
        let secret = matches!(self.keys, KeyOrigin::HmacSecretFile(_));
        if self.algorithms.is_empty() {
            return Err(SetupError::NoAlgorithm);
        }
        for &algorithm in &self.algorithms {
            if (algorithm.family() == AlgorithmFamily::Hmac) != secret {
                return Err(SetupError::WrongAlgorithm(algorithm));
            }
        }
        if self.leeway > LEEWAY_MAX {
            return Err(SetupError::LeewayTooLong);
        }
        if self.refresh_interval.is_zero() || self.refresh_interval > REFRESH_INTERVAL_MAX {
            return Err(SetupError::RefreshInterval);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_goes_with_a_secret_file_and_with_nothing_else() {
        let mut jwks = Config::new(KeyOrigin::JwksFile("keys.json".into()));
        assert!(jwks.validate().is_ok());
        jwks.algorithms.push(Algorithm::HS256);
        assert!(matches!(jwks.validate(), Err(SetupError::WrongAlgorithm(Algorithm::HS256))));

        let mut secret = Config::new(KeyOrigin::HmacSecretFile("secret".into()));
        assert!(secret.validate().is_ok());
        secret.algorithms.push(Algorithm::RS256);
        assert!(matches!(secret.validate(), Err(SetupError::WrongAlgorithm(Algorithm::RS256))));
    }

    #[test]
    fn limits_are_limits() {
        let config = Config::new(KeyOrigin::Jwks(String::new()));
        assert!(Config { algorithms: vec![], ..config.clone() }.validate().is_err());
        assert!(Config { leeway: Duration::from_secs(301), ..config.clone() }.validate().is_err());
        assert!(Config { refresh_interval: Duration::from_secs(300), ..config.clone() }.validate().is_err());
        assert!(Config { refresh_interval: Duration::ZERO, ..config }.validate().is_err());
    }
}
