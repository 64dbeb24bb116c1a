//! Keys, each bound to the algorithms that fit its type.

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

/// A key that signatures are checked with, and for which algorithms.
#[derive(Debug)]
pub struct VerificationKey {
    /// Its name, if the issuer gave it one.
    pub kid: Option<String>,
    /// What it may verify: never more than its type allows.
    pub algorithms: Vec<Algorithm>,
    /// The key.
    pub key: DecodingKey,
}

/// The keys that are good at some moment.
#[derive(Debug)]
pub enum KeySet {
    /// Public keys of the issuer, from a JWK set.
    Public(Vec<VerificationKey>),
    /// One secret shared with the issuer. It has no name: a token's `kid` says nothing about it.
    Secret(DecodingKey),
}

/// What a set has for a token.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// This key, and no other.
    Key(&'a DecodingKey),
    /// There is no key of that name: it may be newer than the set.
    Unknown,
    /// There are keys, but none that this token may be verified with.
    Unfit,
}

impl KeySet {
    /// Finds the key a token names. Without a name there must be exactly one key, so that nothing is left to choose.
    #[must_use]
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Lookup<'_> {
        let keys = match self {
            Self::Secret(key) if algorithm.family() == AlgorithmFamily::Hmac => return Lookup::Key(key),
            Self::Secret(_) => return Lookup::Unfit,
            Self::Public(keys) => keys,
        };
        let fits = |key: &&VerificationKey| key.algorithms.contains(&algorithm);
        let found = match (kid, keys.as_slice()) {
            (_, []) => return Lookup::Unknown,
            (None, [only]) => Some(only).filter(fits),
            (None, _) => None,
            (Some(kid), keys) => {
                let mut named = keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
                if named.peek().is_none() {
                    return Lookup::Unknown;
                }
                named.find(fits)
            }
        };
        found.map_or(Lookup::Unfit, |key| Lookup::Key(&key.key))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Public(keys) => keys.len(),
            Self::Secret(_) => 1,
        }
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Public(keys) if keys.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kid: Option<&str>, algorithms: &[Algorithm]) -> VerificationKey {
        VerificationKey {
            kid: kid.map(str::to_owned),
            algorithms: algorithms.to_vec(),
            key: DecodingKey::from_ed_der(&[0; 32]),
        }
    }

    #[test]
    fn a_kid_must_name_a_key_whose_type_fits_the_algorithm() {
        let set =
            KeySet::Public(vec![key(Some("a"), &[Algorithm::RS256]), key(Some("b"), &[Algorithm::ES256])]);
        assert!(matches!(set.find(Some("a"), Algorithm::RS256), Lookup::Key(_)));
        assert!(matches!(set.find(Some("b"), Algorithm::RS256), Lookup::Unfit));
        assert!(matches!(set.find(Some("c"), Algorithm::RS256), Lookup::Unknown));
    }

    #[test]
    fn without_a_kid_there_must_be_exactly_one_key() {
        let one = KeySet::Public(vec![key(Some("a"), &[Algorithm::RS256])]);
        assert!(matches!(one.find(None, Algorithm::RS256), Lookup::Key(_)));
        assert!(matches!(one.find(None, Algorithm::ES256), Lookup::Unfit));
        let two = KeySet::Public(vec![key(Some("a"), &[Algorithm::RS256]), key(None, &[Algorithm::ES256])]);
        assert!(matches!(two.find(None, Algorithm::RS256), Lookup::Unfit));
    }

    #[test]
    fn keys_of_one_name_and_different_types_are_told_apart() {
        let set =
            KeySet::Public(vec![key(Some("a"), &[Algorithm::RS256]), key(Some("a"), &[Algorithm::EdDSA])]);
        assert!(matches!(set.find(Some("a"), Algorithm::EdDSA), Lookup::Key(_)));
        assert!(matches!(set.find(Some("a"), Algorithm::ES256), Lookup::Unfit));
    }

    #[test]
    fn a_secret_verifies_hmac_alone() {
        let secret = KeySet::Secret(DecodingKey::from_secret(b"shared"));
        assert!(matches!(secret.find(Some("any"), Algorithm::HS256), Lookup::Key(_)));
        assert!(matches!(secret.find(None, Algorithm::RS256), Lookup::Unfit));
    }
}
