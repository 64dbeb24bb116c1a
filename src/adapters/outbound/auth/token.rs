//! A token's text, taken apart: what it says, before anybody has checked whether it is true.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Deserializer};

/// Longest token that is read at all.
pub const TOKEN_MAX_BYTES: usize = 8 * 1024;

/// The text is not a token that anybody would verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token")]
pub struct MalformedToken;

/// A JWT in the compact form (RFC 7515 section 7.1), with its header read and nothing verified.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    /// The algorithm it says it is signed with.
    pub algorithm: Algorithm,
    /// The name of the key it says it is signed with.
    pub kid: Option<String>,
    /// What is signed: header and payload as they came.
    pub signed: &'a str,
    /// The signature, in base64url.
    pub signature: &'a str,
    payload: &'a str,
}

/// The header (RFC 7515 section 4). `jku`, `jwk`, `x5u`, `x5c` are absent because they must never be used: a token
/// does not choose the key it is verified with.
#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    #[serde(default, deserialize_with = "not_null")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// The claims (RFC 7519 section 4.1) that decide.
#[derive(Debug, Deserialize)]
pub struct Claims {
    /// Seconds since 1970, perhaps with a fraction.
    pub exp: f64,
    /// Seconds since 1970, perhaps with a fraction.
    #[serde(default, deserialize_with = "not_null")]
    pub nbf: Option<f64>,
    /// The issuer.
    #[serde(default, deserialize_with = "not_null")]
    pub iss: Option<String>,
    /// The audience.
    #[serde(default, deserialize_with = "not_null")]
    pub aud: Option<OneOrMany>,
    /// The user.
    pub sub: String,
    /// The scopes: separated by spaces (RFC 8693 section 4.2), or an array.
    #[serde(default, deserialize_with = "not_null")]
    pub scope: Option<OneOrMany>,
}

/// A string or an array of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// A string.
    One(String),
    /// An array.
    Many(Vec<String>),
}

impl OneOrMany {
    /// Whether a text is the string or one of the array.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        match self {
            Self::One(one) => one == text,
            Self::Many(many) => many.iter().any(|one| one == text),
        }
    }

    /// Whether a word is one of the string's, or one of the array.
    #[must_use]
    pub fn has_word(&self, word: &str) -> bool {
        match self {
            Self::One(words) => words.split(' ').any(|one| one == word),
            Self::Many(_) => self.contains(word),
        }
    }
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart and refuses what no key could make good: over [`TOKEN_MAX_BYTES`] (unread), not three
    /// parts, an algorithm nobody knows (`none` is one), extensions that must be understood (`crit`), another type
    /// than `JWT` or `at+jwt` (RFC 9068), doubled header fields.
    ///
    /// # Errors
    /// [`MalformedToken`], which never says why.
    pub fn parse(text: &'a str) -> Result<Self, MalformedToken> {
        if text.len() > TOKEN_MAX_BYTES {
            return Err(MalformedToken);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(MalformedToken)?;
        let (header, payload) = signed.split_once('.').ok_or(MalformedToken)?;
        let header: Header = from_base64_json(header)?;
        if header.crit || payload.contains('.') || !header.typ.as_deref().is_none_or(is_access_token) {
            return Err(MalformedToken);
        }
        Ok(Self { algorithm: header.alg, kid: header.kid, signed, signature, payload })
    }

    /// What the token claims. To be read after the signature has been verified.
    ///
    /// # Errors
    /// [`MalformedToken`] if a claim is missing, doubled or of the wrong type.
    pub fn claims(&self) -> Result<Claims, MalformedToken> {
        from_base64_json(self.payload)
    }
}

/// RFC 7515 section 4.1.9: a media type, whose `application/` may be left out, in any case.
fn is_access_token(typ: &str) -> bool {
    ["JWT", "at+jwt", "application/at+jwt"].iter().any(|good| good.eq_ignore_ascii_case(typ))
}

fn from_base64_json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, MalformedToken> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| MalformedToken)?;
    // An array would do for a struct, by position; a header is an object.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(MalformedToken);
    }
    serde_json::from_slice(&json).map_err(|_| MalformedToken)
}

/// For a field that may be absent, but not `null`.
fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// For a field whose being there is all that matters.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_taken_apart_or_refused(text: String, header: String, payload: String) {
            let _ = UnverifiedToken::parse(&text);
            let token = format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
            prop_assert!(UnverifiedToken::parse(&token).is_err());
        }

        #[test]
        fn any_payload_is_read_or_refused(payload in r#"\{("(exp|nbf|sub|aud)":(-?[0-9]{0,400}|"a"|\[\]|null),?){0,4}\}"#) {
            let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
            let token = format!("{header}.{}.", URL_SAFE_NO_PAD.encode(payload));
            let token = UnverifiedToken::parse(&token).unwrap();
            let _ = token.claims();
        }
    }
}
