//! Keys, tokens and issuers for the tests of this folder. Signing is done with the crypto library itself, so that a
//! mistake in the JWT library can't cancel itself out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use super::source::{FetchError, JwksSource, UrlSource};

/// A private key and the JWK of its public half.
pub(super) struct SigningKey {
    alg: &'static str,
    jwk: Value,
    sign: Box<Sign>,
}

type Sign = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

impl SigningKey {
    pub(super) fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let jwk = json!({ "kty": "RSA", "kid": kid, "n": base64(&public.n), "e": base64(&public.e) });
        let sign = move |message: &[u8]| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        };
        Self { alg: "RS256", jwk, sign: Box::new(sign) }
    }

    pub(super) fn p256(kid: &str) -> Self {
        Self::elliptic(kid, "ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(super) fn p384(kid: &str) -> Self {
        Self::elliptic(kid, "ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn elliptic(
        kid: &str,
        alg: &'static str,
        curve: &str,
        algorithm: &'static EcdsaSigningAlgorithm,
    ) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
        let jwk = json!({ "kty": "EC", "crv": curve, "kid": kid, "x": base64(x), "y": base64(y) });
        let sign = move |message: &[u8]| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
        Self { alg, jwk, sign: Box::new(sign) }
    }

    pub(super) fn ed25519(kid: &str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let x = base64(pair.public_key().as_ref());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x });
        Self { alg: "EdDSA", jwk, sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()) }
    }

    /// The public half.
    pub(super) fn jwk(&self) -> Value {
        self.jwk.clone()
    }

    /// A header that names this key.
    pub(super) fn header(&self) -> Value {
        json!({ "alg": self.alg, "typ": "JWT", "kid": self.jwk["kid"] })
    }

    /// A token with this key's own header.
    pub(super) fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    /// A token with any header, signed with this key.
    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        signed(header, claims, |message| self.sign(message))
    }

    /// A bare signature.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        (self.sign)(message)
    }
}

/// A token signed in any way.
pub(super) fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = base64(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A JWK set of some keys.
pub(super) fn jwks(keys: &[&SigningKey]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// An issuer whose document a test decides, in memory.
#[derive(Clone)]
pub(super) struct ScriptedSource(Arc<Script>);

struct Script {
    document: Mutex<Option<String>>,
    started: AtomicU64,
    start: Notify,
    gate: Semaphore,
}

impl ScriptedSource {
    /// Answers at once.
    pub(super) fn new(document: impl Into<Option<String>>) -> Self {
        Self::gated(document, Semaphore::MAX_PERMITS)
    }

    /// Answers as often as it is allowed to, and then keeps everybody waiting.
    pub(super) fn gated(document: impl Into<Option<String>>, answers: usize) -> Self {
        Self(Arc::new(Script {
            document: Mutex::new(document.into()),
            started: AtomicU64::new(0),
            start: Notify::new(),
            gate: Semaphore::new(answers),
        }))
    }

    /// From now on this document, or none: the issuer is down.
    pub(super) fn publish(&self, document: impl Into<Option<String>>) {
        *self.0.document.lock() = document.into();
    }

    /// Lets one more fetch be answered.
    pub(super) fn answer_one(&self) {
        self.0.gate.add_permits(1);
    }

    /// How many fetches have begun.
    pub(super) fn fetches(&self) -> u64 {
        self.0.started.load(Ordering::SeqCst)
    }

    /// Waits until so many fetches have begun.
    pub(super) async fn fetches_reach(&self, count: u64) {
        while self.fetches() < count {
            self.0.start.notified().await;
        }
    }
}

#[async_trait]
impl JwksSource for ScriptedSource {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        self.0.started.fetch_add(1, Ordering::SeqCst);
        self.0.start.notify_one();
        self.0.gate.acquire().await.unwrap().forget();
        let document = self.0.document.lock().clone();
        document.map(String::into_bytes).ok_or(FetchError::Status(StatusCode::BAD_GATEWAY))
    }
}

/// An issuer on a port of this machine. It ends with the value.
pub(super) struct JwksServer {
    url: String,
    state: Arc<ServerState>,
    task: JoinHandle<()>,
}

struct ServerState {
    answer: Mutex<(u16, Vec<u8>)>,
    redirects: Mutex<HashMap<String, String>>,
    fetches: AtomicU64,
}

impl JwksServer {
    #[expect(clippy::disallowed_methods, reason = "the handle is kept, and aborted on drop")]
    pub(super) async fn start(status: u16, body: Vec<u8>) -> Self {
        let state = Arc::new(ServerState {
            answer: Mutex::new((status, body)),
            redirects: Mutex::default(),
            fetches: AtomicU64::new(0),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state, task }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn source(&self) -> UrlSource {
        UrlSource::new(&self.url).unwrap()
    }

    pub(super) fn publish(&self, body: String) {
        *self.state.answer.lock() = (200, body.into_bytes());
    }

    pub(super) fn redirect_from(&self, path: &str, to: &str) {
        self.state.redirects.lock().insert(path.to_owned(), to.to_owned());
    }

    pub(super) fn fetches(&self) -> u64 {
        self.state.fetches.load(Ordering::SeqCst)
    }
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(state): State<Arc<ServerState>>, uri: Uri) -> Response {
    state.fetches.fetch_add(1, Ordering::SeqCst);
    if let Some(to) = state.redirects.lock().get(uri.path()) {
        return (StatusCode::FOUND, [(header::LOCATION, to.clone())]).into_response();
    }
    let (status, body) = state.answer.lock().clone();
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}
