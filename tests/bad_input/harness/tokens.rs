//! An issuer that signs whatever it is asked to, made of the crypto library itself.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "issuer.test";
pub(crate) const AUDIENCE: &str = "edgeway";
/// Some time in 2100.
pub(crate) const FAR: u64 = 4_102_444_800;

/// Two keys that the gateway knows: `ed` and `rsa`.
pub(crate) struct Issuer {
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let ed = Ed25519KeyPair::generate().expect("a key");
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Self { ed, rsa }
    }

    pub(crate) fn jwks(&self) -> String {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "ed", "x": self.ed_x() },
            { "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "rsa", "n": base64(&public.n),
              "e": base64(&public.e) },
        ]})
        .to_string()
    }

    /// The Ed25519 key's `x`.
    pub(crate) fn ed_x(&self) -> String {
        base64(self.ed.public_key().as_ref())
    }

    /// The RSA key as the world knows it: what a confused verifier would take for a shared secret.
    pub(crate) fn rsa_public(&self) -> [Vec<u8>; 2] {
        let der: PublicKeyX509Der<'_> = self.rsa.public_key().as_der().expect("a public key");
        let body = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64")).collect();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
        [der.as_ref().to_vec(), pem.into_bytes()]
    }

    /// A token that is as it should be.
    pub(crate) fn good(&self, user: &str) -> String {
        self.signed(&json!({ "alg": "EdDSA", "typ": "JWT", "kid": "ed" }), &claims(user).to_string())
    }

    /// Signed by the Ed25519 key, whatever the header says.
    pub(crate) fn signed(&self, header: &Value, payload: &str) -> String {
        token(header, payload, |signed| self.ed.sign(signed).as_ref().to_vec())
    }

    /// Signed by the RSA key.
    pub(crate) fn signed_by_rsa(&self, header: &Value, payload: &str) -> String {
        token(header, payload, |signed| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            let random = SystemRandom::new();
            self.rsa.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature).expect("a signature");
            signature
        })
    }
}

/// What a good token says.
pub(crate) fn claims(user: &str) -> Value {
    json!({
        "sub": user, "iss": ISSUER, "aud": AUDIENCE, "exp": FAR, "scope": "messages:read messages:write",
    })
}

/// Signed with a secret.
pub(crate) fn signed_by_secret(header: &Value, payload: &str, secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    token(header, payload, |signed| hmac::sign(&key, signed).as_ref().to_vec())
}

/// The compact form (RFC 7515 §7.1).
pub(crate) fn token(header: &Value, payload: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", base64(header.to_string().as_bytes()), base64(payload.as_bytes()));
    let signature = base64(&sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
