//! JWK sets (RFC 7517), read strictly: a key is used only when everything it says of itself fits.

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::keys::{KeySet, VerificationKey};

/// Most keys a set may have.
pub const KEYS_MAX: usize = 64;
/// Shortest RSA modulus that is still trusted (RFC 7518 section 3.3).
pub const RSA_MIN_BITS: usize = 2048;
/// Longest RSA modulus: beyond it a check costs too much.
pub const RSA_MAX_BITS: usize = 8192;
/// Longest RSA exponent: real ones have three.
const RSA_EXPONENT_MAX_BYTES: usize = 4;

const RSA_ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// A set as read: the keys that can be used, and what was wrong with the others.
#[derive(Debug)]
pub struct Jwks {
    /// The keys for verifying signatures.
    pub keys: KeySet,
    /// The others.
    pub skipped: Vec<SkippedKey>,
}

/// A key that is not used.
#[derive(Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its name, if it could be read.
    pub kid: Option<String>,
    /// Why not.
    pub reason: &'static str,
}

/// The document is not a JWK set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedJwks {
    /// No JSON object with an array `keys`.
    #[error("not a JWK set")]
    NotASet,
    /// More than [`KEYS_MAX`] keys.
    #[error("more than {KEYS_MAX} keys")]
    TooManyKeys,
}

#[derive(Deserialize)]
struct RawSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// What of a JWK concerns a verifier. All else, such as `x5u`, is neither used nor fetched.
#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part. Whoever publishes it has no secret any more.
    d: Option<serde::de::IgnoredAny>,
}

/// Reads a JWK set. One bad key doesn't spoil the others.
///
/// # Errors
/// [`MalformedJwks`] if the document as a whole is none.
pub fn parse(document: &[u8]) -> Result<Jwks, MalformedJwks> {
    let set: RawSet<'_> = serde_json::from_slice(document).map_err(|_| MalformedJwks::NotASet)?;
    if set.keys.len() > KEYS_MAX {
        return Err(MalformedJwks::TooManyKeys);
    }
    let mut keys: Vec<VerificationKey> = Vec::with_capacity(set.keys.len());
    let mut skipped = Vec::new();
    for raw in set.keys {
        let Ok(raw) = serde_json::from_str::<RawKey>(raw.get()) else {
            skipped.push(SkippedKey { kid: None, reason: "not a JWK" });
            continue;
        };
        let kid = raw.kid.clone();
        match verification_key(raw) {
            Ok(key) if keys.iter().any(|other| clash(other, &key)) => {
                skipped.push(SkippedKey { kid, reason: "another key has this name and algorithm" });
            }
            Ok(key) => keys.push(key),
            Err(reason) => skipped.push(SkippedKey { kid, reason }),
        }
    }
    Ok(Jwks { keys: KeySet::Public(keys), skipped })
}

/// Whether a token could mean either key.
fn clash(one: &VerificationKey, other: &VerificationKey) -> bool {
    one.kid.is_some()
        && one.kid == other.kid
        && one.algorithms.iter().any(|algorithm| other.algorithms.contains(algorithm))
}

fn verification_key(raw: RawKey) -> Result<VerificationKey, &'static str> {
    if raw.kty == "oct" {
        return Err("a symmetric key is no public key");
    }
    if raw.d.is_some() {
        return Err("a private key has been published");
    }
    if raw.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("not for signatures");
    }
    if raw.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Err("not for verifying");
    }
    let (key, mut algorithms) = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => (rsa(&raw)?, RSA_ALGORITHMS.to_vec()),
        ("EC", Some("P-256")) => {
            (elliptic(&raw, 32, &signature::ECDSA_P256_SHA256_FIXED)?, vec![Algorithm::ES256])
        }
        ("EC", Some("P-384")) => {
            (elliptic(&raw, 48, &signature::ECDSA_P384_SHA384_FIXED)?, vec![Algorithm::ES384])
        }
        ("OKP", Some("Ed25519")) => (edwards(&raw)?, vec![Algorithm::EdDSA]),
        _ => return Err("of a type or curve that is not supported"),
    };
    if let Some(only) = raw.alg {
        algorithms.retain(|&algorithm| only.parse::<Algorithm>().is_ok_and(|only| only == algorithm));
        if algorithms.is_empty() {
            return Err("its algorithm does not fit its type");
        }
    }
    Ok(VerificationKey { kid: raw.kid, algorithms, key })
}

fn rsa(raw: &RawKey) -> Result<DecodingKey, &'static str> {
    let modulus = decoded(raw.n.as_deref())?;
    let exponent = decoded(raw.e.as_deref())?;
    // RFC 7518 section 6.3.1.1 forbids leading zeros, and issuers write them all the same.
    let modulus = &modulus[modulus.iter().take_while(|byte| **byte == 0).count()..];
    let Some(first) = modulus.first() else { return Err("no modulus") };
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    if !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits) {
        return Err("an RSA modulus of fewer than 2048 or more than 8192 bits");
    }
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    if !odd || exponent == [1] || exponent.len() > RSA_EXPONENT_MAX_BYTES {
        return Err("an RSA exponent out of range");
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, &exponent))
}

fn elliptic(
    raw: &RawKey,
    coordinate_bytes: usize,
    algorithm: &'static dyn VerificationAlgorithm,
) -> Result<DecodingKey, &'static str> {
    let (x, y) = (decoded(raw.x.as_deref())?, decoded(raw.y.as_deref())?);
    if x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return Err("coordinates of the wrong length");
    }
    let point = [&[UNCOMPRESSED_POINT], x.as_slice(), y.as_slice()].concat();
    ParsedPublicKey::new(algorithm, &point).map_err(|_| "not a point of its curve")?;
    Ok(DecodingKey::from_ec_der(&point))
}

/// SEC 1 section 2.3.3: both coordinates follow.
const UNCOMPRESSED_POINT: u8 = 4;

fn edwards(raw: &RawKey) -> Result<DecodingKey, &'static str> {
    let x = decoded(raw.x.as_deref())?;
    ParsedPublicKey::new(&signature::ED25519, &x).map_err(|_| "not an Ed25519 public key")?;
    Ok(DecodingKey::from_ed_der(&x))
}

fn decoded(value: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let value = value.ok_or("a part is missing")?;
    URL_SAFE_NO_PAD.decode(value).map_err(|_| "a part is not base64url")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::SigningKey;
    use super::*;

    fn read(keys: Vec<Value>) -> (Vec<VerificationKey>, Vec<SkippedKey>) {
        let jwks = parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        let KeySet::Public(keys) = jwks.keys else { panic!("a JWK set holds public keys") };
        (keys, jwks.skipped)
    }

    fn with(key: &SigningKey, member: &str, value: impl Into<Value>) -> Value {
        let mut jwk = key.jwk();
        jwk[member] = value.into();
        jwk
    }

    #[test]
    fn each_key_is_bound_to_the_algorithms_of_its_type() {
        let (keys, skipped) = read(vec![
            SigningKey::rsa("r").jwk(),
            SigningKey::p256("p2").jwk(),
            SigningKey::p384("p3").jwk(),
            SigningKey::ed25519("ed").jwk(),
            with(&SigningKey::rsa("only"), "alg", "PS256"),
        ]);
        assert_eq!(skipped, []);
        let algorithms: Vec<_> = keys.iter().map(|key| key.algorithms.as_slice()).collect();
        assert_eq!(
            algorithms,
            [
                &RSA_ALGORITHMS[..],
                &[Algorithm::ES256],
                &[Algorithm::ES384],
                &[Algorithm::EdDSA],
                &[Algorithm::PS256]
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_skipped_and_named_and_the_rest_is_used() {
        let (rsa, ec, ed) = (SigningKey::rsa("bad"), SigningKey::p256("bad"), SigningKey::ed25519("bad"));
        let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
        let off_curve = URL_SAFE_NO_PAD.encode([7; 32]);
        for bad in [
            json!({ "kty": "oct", "kid": "bad", "k": "c2VjcmV0" }),
            json!({ "kty": "EC", "crv": "P-521", "kid": "bad", "x": "AA", "y": "AA" }),
            json!({ "kty": "OKP", "crv": "Ed448", "kid": "bad", "x": "AA" }),
            json!({ "kty": "AKP", "kid": "bad" }),
            with(&rsa, "use", "enc"),
            with(&rsa, "key_ops", json!(["encrypt"])),
            with(&rsa, "alg", "HS256"),
            with(&rsa, "alg", "ES256"),
            with(&rsa, "alg", "RSA-OAEP"),
            with(&rsa, "n", short),
            with(&rsa, "n", ""),
            with(&rsa, "n", "!"),
            with(&rsa, "e", "AQ"),
            with(&rsa, "e", "AQAC"),
            with(&rsa, "d", "AAAA"),
            with(&ec, "crv", "P-384"),
            with(&ec, "y", off_curve),
            with(&ec, "x", Value::Null),
            with(&ed, "x", "AAAA"),
        ] {
            let (keys, skipped) = read(vec![bad.clone(), SigningKey::ed25519("good").jwk()]);
            assert_eq!(keys.len(), 1, "{bad}");
            assert_eq!(skipped.len(), 1, "{bad}");
            assert_eq!(skipped[0].kid.as_deref(), Some("bad"), "{bad}");
        }
    }

    #[test]
    fn a_key_that_is_no_jwk_at_all_spoils_nothing() {
        let (keys, skipped) =
            read(vec![json!(7), json!({ "kid": 7, "kty": "RSA" }), SigningKey::p256("good").jwk()]);
        assert_eq!((keys.len(), skipped.len()), (1, 2));
    }

    #[test]
    fn two_keys_a_token_could_mean_alike_are_not_both_used() {
        let (keys, skipped) = read(vec![
            SigningKey::ed25519("k").jwk(),
            SigningKey::ed25519("k").jwk(),
            SigningKey::p256("k").jwk(),
        ]);
        assert_eq!((keys.len(), skipped.len()), (2, 1));
    }

    #[test]
    fn a_document_that_is_no_set_is_refused() {
        let many = json!({ "keys": vec![json!({}); KEYS_MAX + 1] }).to_string();
        for (bad, why) in [
            ("", MalformedJwks::NotASet),
            ("<html>", MalformedJwks::NotASet),
            ("[]", MalformedJwks::NotASet),
            ("{}", MalformedJwks::NotASet),
            (r#"{"keys":{}}"#, MalformedJwks::NotASet),
            (r#"{"keys":[]} trailing"#, MalformedJwks::NotASet),
            (&many, MalformedJwks::TooManyKeys),
        ] {
            assert_eq!(parse(bad.as_bytes()).err(), Some(why), "{bad:.40}");
        }
    }
}
