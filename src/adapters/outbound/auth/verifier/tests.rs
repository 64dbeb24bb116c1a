//! What a verifier accepts, and everything it must not.

use serde_json::{Value, json};

use super::super::testing::{JwksServer, SigningKey, base64, jwks as set_of, signed};
use super::fixture::{EC, ED, NOW, RSA, claims, claims_with, clock, config, header_with, start};
use super::*;

async fn outcome(token: &str) -> Result<Identity, AuthError> {
    start(config(), clock()).unwrap().verify(token).await
}

#[tokio::test]
async fn good_tokens_of_every_default_algorithm_verify() {
    for key in [&*RSA, &*EC, &*ED] {
        let identity = outcome(&key.token(&claims())).await.unwrap();
        assert_eq!(identity.user_id.as_str(), "alice");
        assert_eq!(identity.scopes, Scopes { read: true, write: true });
        assert_eq!(identity.expires_at, UnixMillis((NOW + 600) * 1000));
    }
}

#[tokio::test]
async fn claims_may_come_in_every_form_the_standards_allow() {
    for good in [
        json!({ "aud": ["other", "edgeway"] }),
        json!({ "exp": NOW as f64 + 0.5 }),
        json!({ "exp": NOW - 29 }),
        json!({ "nbf": NOW }),
        json!({ "nbf": NOW + 30 }),
        json!({ "nbf": NOW as f64 - 0.5 }),
        json!({ "exp": 1e300 }),
        json!({ "iat": "nobody looks", "unknown": { "deep": [1, 2] } }),
    ] {
        assert!(outcome(&ED.token(&claims_with(good.clone()))).await.is_ok(), "{good}");
    }
    for good in [
        json!({ "typ": null }),
        json!({ "typ": "jwt" }),
        json!({ "typ": "at+JWT" }),
        json!({ "typ": "application/at+jwt" }),
    ] {
        assert!(outcome(&ED.token_with(&header_with(good.clone()), &claims())).await.is_ok(), "{good}");
    }
}

#[tokio::test]
async fn scopes_are_a_string_of_words_or_an_array() {
    for (scope, read, write) in [
        (json!("messages:read"), true, false),
        (json!(["messages:write", "other"]), false, true),
        (json!("messages:readwrite xmessages:write"), false, false),
        (json!(["messages:read messages:write"]), false, false),
        (json!(""), false, false),
        (json!([]), false, false),
        (Value::Null, false, false),
    ] {
        let identity = outcome(&ED.token(&claims_with(json!({ "scope": scope })))).await.unwrap();
        assert_eq!(identity.scopes, Scopes { read, write }, "{scope}");
    }
    let named = Config { scopes: ScopeNames { read: "r".into(), write: "w".into() }, ..config() };
    let verifier = start(named, clock()).unwrap();
    let token = ED.token(&claims_with(json!({ "scope": "r messages:write" })));
    assert_eq!(verifier.verify(&token).await.unwrap().scopes, Scopes { read: true, write: false });
}

#[tokio::test]
async fn claims_that_are_wrong_or_missing_are_refused() {
    for bad in [
        json!({ "exp": null }),
        json!({ "exp": (NOW + 600).to_string() }),
        json!({ "exp": [NOW + 600] }),
        json!({ "exp": true }),
        json!({ "nbf": NOW + 31 }),
        json!({ "nbf": NOW.to_string() }),
        json!({ "nbf": NOW + 31, "exp": NOW - 600 }),
        json!({ "iss": null }),
        json!({ "iss": "https://id.example.com/" }),
        json!({ "iss": ["https://id.example.com"] }),
        json!({ "aud": null }),
        json!({ "aud": "edge" }),
        json!({ "aud": ["edge", "way"] }),
        json!({ "aud": [] }),
        json!({ "aud": [7] }),
        json!({ "aud": "edge", "exp": NOW - 600 }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": 7 }),
        json!({ "sub": "../alice" }),
        json!({ "sub": "{}" }),
        json!({ "sub": "a\nb" }),
        json!({ "sub": "x".repeat(129) }),
        json!({ "scope": 7 }),
    ] {
        let token = ED.token(&claims_with(bad.clone()));
        assert_eq!(outcome(&token).await, Err(AuthError::Unauthorized), "{bad}");
    }
}

#[tokio::test]
async fn null_and_doubled_claims_are_refused() {
    let all = claims().to_string();
    let body = all.trim_start_matches('{');
    let message = |payload: &str| format!("{}.{}", base64(ED.header().to_string()), base64(payload));
    for bad in [
        format!(r#"{{"nbf":null,{body}"#),
        format!(r#"{{"sub":"mallory",{body}"#),
        format!(r#"{{"exp":{},{body}"#, NOW + 9999),
        format!("[{}, null, null, null, \"alice\", null]", NOW + 600),
        format!("{all} {all}"),
        String::new(),
    ] {
        let message = message(&bad);
        let token = format!("{message}.{}", base64(ED.sign(message.as_bytes())));
        assert_eq!(outcome(&token).await, Err(AuthError::Unauthorized), "{bad}");
    }
}

#[tokio::test]
async fn a_token_expires_after_the_leeway_and_only_an_otherwise_good_one_is_called_expired() {
    for (exp, expected) in
        [(NOW - 29, None), (NOW - 30, Some(AuthError::Expired)), (0, Some(AuthError::Expired))]
    {
        let token = ED.token(&claims_with(json!({ "exp": exp })));
        assert_eq!(outcome(&token).await.err(), expected, "{exp}");
    }
    let forged = SigningKey::ed25519("ed").token(&claims_with(json!({ "exp": NOW - 600 })));
    assert_eq!(outcome(&forged).await, Err(AuthError::Unauthorized));
    let strict = start(Config { leeway: Duration::ZERO, ..config() }, clock()).unwrap();
    let token = ED.token(&claims_with(json!({ "exp": NOW })));
    assert_eq!(strict.verify(&token).await, Err(AuthError::Expired));
    assert_eq!(strict.leeway(), Duration::ZERO);
}

#[tokio::test]
async fn headers_that_are_wrong_or_ask_for_another_key_are_refused() {
    let own = SigningKey::ed25519("own");
    let embedded = own.jwk();
    for (header, key) in [
        // The key is named wrongly.
        (header_with(json!({ "kid": null })), &*ED),
        (header_with(json!({ "kid": "rsa" })), &*ED),
        (header_with(json!({ "kid": 7 })), &*ED),
        (header_with(json!({ "kid": "" })), &*ED),
        (header_with(json!({ "kid": "../../../../etc/passwd" })), &*ED),
        (header_with(json!({ "kid": "' OR '1'='1" })), &*ED),
        (header_with(json!({ "kid": "http://127.0.0.1:1/key" })), &*ED),
        (header_with(json!({ "kid": "ed\u{0}" })), &*ED),
        // The key is the attacker's own, offered in every way there is.
        (header_with(json!({})), &own),
        (header_with(json!({ "jwk": embedded })), &own),
        (header_with(json!({ "jwk": embedded, "kid": "own" })), &own),
        (header_with(json!({ "jku": "http://127.0.0.1:1/jwks.json", "kid": "own" })), &own),
        (header_with(json!({ "x5u": "http://127.0.0.1:1/cert.pem" })), &own),
        (header_with(json!({ "x5c": ["MIIB"] })), &own),
        // Another algorithm than the key's.
        (header_with(json!({ "alg": "ES256" })), &*ED),
        (header_with(json!({ "alg": "eddsa" })), &*ED),
        (header_with(json!({ "alg": null })), &*ED),
        (header_with(json!({ "alg": ["EdDSA"] })), &*ED),
        // Not an access token, or one with extensions.
        (header_with(json!({ "typ": "JWE" })), &*ED),
        (header_with(json!({ "typ": "logout+jwt" })), &*ED),
        (header_with(json!({ "typ": 7 })), &*ED),
        (header_with(json!({ "crit": ["exp"] })), &*ED),
        (header_with(json!({ "crit": [] })), &*ED),
        (header_with(json!({ "crit": ["b64"], "b64": false })), &*ED),
    ] {
        let token = key.token_with(&header, &claims());
        assert_eq!(outcome(&token).await, Err(AuthError::Unauthorized), "{header}");
    }
}

#[tokio::test]
async fn jku_x5u_and_jwk_are_ignored_and_never_fetched() {
    let tempting = JwksServer::start(200, set_of(&[&SigningKey::ed25519("own")]).into_bytes()).await;
    let url = tempting.url();
    let header = header_with(json!({ "jku": url, "x5u": url, "jwk": SigningKey::rsa("own").jwk() }));
    assert!(outcome(&ED.token_with(&header, &claims())).await.is_ok(), "signed by the right key");
    assert_eq!(tempting.fetches(), 0);
}

#[tokio::test]
async fn doubled_header_fields_are_refused() {
    let header = ED.header().to_string();
    for extra in [r#""alg":"none","#, r#""kid":"ec","#, r#""crit":null,"#] {
        let doubled = header.replacen('{', &format!("{{{extra}"), 1);
        let message = format!("{}.{}", base64(doubled), base64(claims().to_string()));
        let token = format!("{message}.{}", base64(ED.sign(message.as_bytes())));
        assert_eq!(outcome(&token).await, Err(AuthError::Unauthorized), "{extra}");
    }
}

#[tokio::test]
async fn unsigned_tokens_are_refused() {
    for alg in ["none", "None", "NONE", "nOnE"] {
        let token = signed(&json!({ "alg": alg, "kid": "ed" }), &claims(), |_| vec![]);
        assert_eq!(outcome(&token).await, Err(AuthError::Unauthorized), "{alg}");
        assert_eq!(outcome(token.trim_end_matches('.')).await, Err(AuthError::Unauthorized), "{alg}");
    }
    let token = ED.token(&claims());
    let (message, _) = token.rsplit_once('.').unwrap();
    assert_eq!(outcome(&format!("{message}.")).await, Err(AuthError::Unauthorized));
}

#[tokio::test]
async fn a_public_key_is_no_hmac_secret() {
    let jwk = RSA.jwk();
    for secret in [jwk.to_string(), jwk["n"].as_str().unwrap().to_owned()] {
        for alg in ["HS256", "HS384", "HS512"] {
            let key = aws_lc_rs::hmac::Key::new(
                match alg {
                    "HS256" => aws_lc_rs::hmac::HMAC_SHA256,
                    "HS384" => aws_lc_rs::hmac::HMAC_SHA384,
                    _ => aws_lc_rs::hmac::HMAC_SHA512,
                },
                secret.as_bytes(),
            );
            let token = signed(&json!({ "alg": alg, "kid": "rsa" }), &claims(), |message| {
                aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
            });
            assert_eq!(outcome(&token).await, Err(AuthError::Unauthorized), "{alg}");
        }
    }
}

#[tokio::test]
async fn a_tampered_token_is_refused() {
    for key in [&*RSA, &*EC, &*ED] {
        let token = key.token(&claims());
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let richer = base64(claims_with(json!({ "sub": "root" })).to_string());
        for bad in [
            format!("{header}.{richer}.{signature}"),
            format!("{message}.{}", base64([0; 64])),
            format!("{message}.{signature}A"),
            format!("{message}.{signature}="),
            format!("{token}.{signature}"),
            format!(" {token}"),
            format!("{token}\n"),
            message.to_owned(),
            header.to_owned(),
        ] {
            assert_eq!(outcome(&bad).await, Err(AuthError::Unauthorized), "{bad}");
        }
    }
    for bad in ["", ".", "..", "...", "a.b.c", "é.é.é", "e30.e30.e30"] {
        assert_eq!(outcome(bad).await, Err(AuthError::Unauthorized), "{bad}");
    }
}

#[tokio::test]
async fn a_token_over_8_kib_is_refused_unread() {
    let sized = |pad: usize| ED.token(&claims_with(json!({ "pad": "x".repeat(pad) })));
    let fits = sized(5_000);
    assert!(fits.len() <= TOKEN_MAX_BYTES && outcome(&fits).await.is_ok());
    let nine_kib = sized(6_900);
    assert!(nine_kib.len() > 9 * 1024);
    assert_eq!(outcome(&nine_kib).await, Err(AuthError::Unauthorized));
}

#[tokio::test]
async fn what_the_allow_list_leaves_out_is_refused() {
    let only_rsa = Config { algorithms: vec![Algorithm::RS256], ..config() };
    let verifier = start(only_rsa, clock()).unwrap();
    assert!(verifier.verify(&RSA.token(&claims())).await.is_ok());
    assert_eq!(verifier.verify(&ED.token(&claims())).await, Err(AuthError::Unauthorized));
}

#[tokio::test]
async fn without_a_configured_issuer_or_audience_any_will_do() {
    let verifier = start(Config { issuer: None, audience: None, ..config() }, clock()).unwrap();
    let token = ED.token(&claims_with(json!({ "iss": null, "aud": "other" })));
    assert!(verifier.verify(&token).await.is_ok());
}

#[tokio::test]
async fn a_single_key_needs_no_kid() {
    let single = Config { keys: KeyOrigin::Jwks(set_of(&[&ED])), ..config() };
    let verifier = start(single, clock()).unwrap();
    let nameless = |key: &SigningKey| key.token_with(&header_with(json!({ "kid": null })), &claims());
    assert!(verifier.verify(&nameless(&ED)).await.is_ok());
    let forged = nameless(&SigningKey::ed25519("ed"));
    assert_eq!(verifier.verify(&forged).await, Err(AuthError::Unauthorized));
}

#[tokio::test]
async fn a_secret_file_verifies_hmac_and_must_be_long_enough() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let with_secret = || {
        let keys = KeyOrigin::HmacSecretFile(path.clone());
        Config { keys, algorithms: vec![Algorithm::HS256], ..config() }
    };
    assert!(matches!(start(with_secret(), clock()), Err(SetupError::SecretFile(_))));
    std::fs::write(&path, format!("{}\n\r\n\n\n", "s".repeat(31))).unwrap();
    assert!(matches!(start(with_secret(), clock()), Err(SetupError::ShortSecret(Algorithm::HS256, 32))));
    std::fs::write(&path, format!("{}\n", "s".repeat(32))).unwrap();
    let verifier = start(with_secret(), clock()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, "s".repeat(32).as_bytes());
    let sign = |message: &[u8]| aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec();
    assert!(verifier.verify(&signed(&json!({ "alg": "HS256" }), &claims(), sign)).await.is_ok());
    let named = signed(&json!({ "alg": "HS256", "kid": "any" }), &claims(), sign);
    assert!(verifier.verify(&named).await.is_ok());
    assert_eq!(verifier.verify(&ED.token(&claims())).await, Err(AuthError::Unauthorized));
}

#[tokio::test]
async fn a_remembered_token_is_still_judged_by_the_time() {
    let clock = clock();
    let verifier = start(config(), Arc::clone(&clock)).unwrap();
    let token = ED.token(&claims_with(json!({ "nbf": NOW })));
    assert!(verifier.verify(&token).await.is_ok());
    clock.set_unix(UnixMillis((NOW - 3600) * 1000));
    assert_eq!(verifier.verify(&token).await, Err(AuthError::Unauthorized), "set back an hour");
    clock.set_unix(UnixMillis((NOW + 3600) * 1000));
    assert_eq!(verifier.verify(&token).await, Err(AuthError::Expired), "set ahead an hour");
    clock.set_unix(UnixMillis(NOW * 1000));
    assert!(verifier.verify(&token).await.is_ok());
}
