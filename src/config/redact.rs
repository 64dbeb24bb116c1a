//! URLs that may carry a password.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Stands where a secret was.
pub const REDACTED: &str = "[redacted]";

/// A URL that may carry a password. Whatever shows it, in logs or as effective configuration, shows it redacted.
#[derive(Clone)]
pub struct SecretUrl(SecretString);

impl SecretUrl {
    /// The URL with everything in it.
    pub fn expose(&self) -> &SecretString {
        &self.0
    }

    /// The URL without what may be secret: user and password, and the query.
    pub fn redacted(&self) -> String {
        redact(self.0.expose_secret())
    }
}

fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // No URL: nobody knows what of it is secret.
        return REDACTED.to_owned();
    };
    // Up to the last @, whatever is before it: a password that should have been percent-encoded is one all the same.
    let (user, place) = match rest.rsplit_once('@') {
        Some((_, place)) => (format!("{REDACTED}@"), place),
        None => (String::new(), rest),
    };
    match place.split_once('?') {
        Some((place, _)) => format!("{scheme}://{user}{place}?{REDACTED}"),
        None => format!("{scheme}://{user}{place}"),
    }
}

impl From<&str> for SecretUrl {
    fn from(url: &str) -> Self {
        Self(url.into())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(String::deserialize(deserializer)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        for (url, shown) in [
            ("redis://redis:6379", "redis://redis:6379"),
            ("redis://:s3cret@redis:6379/0", "redis://[redacted]@redis:6379/0"),
            ("rediss://me:s3cret@a:1,b:2/main", "rediss://[redacted]@a:1,b:2/main"),
            ("redis://:p@ss/w@rd@redis:6379", "redis://[redacted]@redis:6379"),
            ("redis://redis?password=s3cret", "redis://redis?[redacted]"),
            ("redis://:p?ss@redis?db=1", "redis://[redacted]@redis?[redacted]"),
            (":s3cret@redis", "[redacted]"),
        ] {
            assert_eq!(redact(url), shown);
        }
    }
}
