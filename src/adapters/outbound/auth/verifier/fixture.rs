//! The world the verifier's tests play in: one issuer, three keys, one moment.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::config::{Config, KeyOrigin, SetupError};
use super::super::testing::{SigningKey, jwks as set_of};
use super::JwtVerifier;
use crate::application::ports::clock::ManualClock;
use crate::application::vital::VitalTasks;
use crate::domain::time::UnixMillis;

/// Some moment in 2026, in seconds.
pub(super) const NOW: u64 = 1_790_000_000;

/// Made once: an RSA key takes a while.
pub(super) static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rsa("rsa"));
pub(super) static EC: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::p256("ec"));
pub(super) static ED: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::ed25519("ed"));

pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(UnixMillis(NOW * 1000)))
}

pub(super) fn start(config: Config, clock: Arc<ManualClock>) -> Result<JwtVerifier, SetupError> {
    JwtVerifier::start(config, clock, &VitalTasks::default(), &CancellationToken::new())
}

pub(super) fn config() -> Config {
    Config {
        issuer: Some("https://id.example.com".to_owned()),
        audience: Some("edgeway".to_owned()),
        ..Config::new(KeyOrigin::Jwks(set_of(&[&RSA, &EC, &ED])))
    }
}

pub(super) fn claims() -> Value {
    json!({
        "iss": "https://id.example.com",
        "aud": "edgeway",
        "sub": "alice",
        "exp": NOW + 600,
        "scope": "openid messages:read messages:write",
    })
}

/// The usual claims with some replaced; `null` takes one away.
pub(super) fn claims_with(changes: Value) -> Value {
    changed(claims(), changes)
}

pub(super) fn header_with(changes: Value) -> Value {
    changed(ED.header(), changes)
}

fn changed(mut object: Value, changes: Value) -> Value {
    let (Value::Object(object_fields), Value::Object(changes)) = (&mut object, changes) else {
        panic!("objects are changed by objects")
    };
    for (name, value) in changes {
        if value.is_null() {
            object_fields.remove(&name)
        } else {
            object_fields.insert(name, value)
        };
    }
    object
}
