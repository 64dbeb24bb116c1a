//! Tokens that prove nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::answer::CANARY;
use crate::harness::ask::{Asked, Over, TRANSPORTS, Via};
use crate::harness::frames::{TEXT, frame};
use crate::harness::rows::Rows;
use crate::harness::stage::Stage;
use crate::harness::tokens::{FAR, Issuer, base64, claims, signed_by_secret, token};

const REFUSED: (u16, &str, u16) = (401, "unauthorized", 4001);
const EXPIRED: (u16, &str, u16) = (401, "token_expired", 4201);
const FORBIDDEN: (u16, &str, u16) = (403, "forbidden", 4003);

pub(crate) fn add(rows: &mut Rows, stage: &Arc<Stage>) {
    for (what, token, expected) in tokens(&stage.issuer) {
        for via in [Via::Http1, Via::Http2] {
            let over = Over { server: stage.serve.clone(), via };
            let token = token.clone();
            rows.add(format!("token: {what}, {}", over.name()), async move {
                let bearer = format!("Bearer {token}");
                for on in TRANSPORTS {
                    over.attach_is_refused(on, "", &[("authorization", &bearer)], expected).await;
                }
                let (status, code, close) = expected;
                let mut line = over.upgrade("/v1/ws", &[]).await.expect("an upgrade");
                line.write(frame(TEXT, json!({ "type": "hello", "token": token }).to_string())).await;
                line.is_refused_and_closed(code, close).await;
                for (method, path) in [
                    ("POST", "/v1/tickets"),
                    ("POST", "/v1/commands?session=x"),
                    ("DELETE", "/v1/sessions/x"),
                ] {
                    let asked = Asked::new(method, path).with("authorization", &*bearer);
                    let answer = over.ask(&asked).await;
                    // Who may not read may still be known: there is no such session, whatever the scope.
                    if expected != FORBIDDEN {
                        answer.is_refused(status, code);
                        assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
                    }
                }
            });
        }
    }
    for over in stage.everywhere() {
        add_elsewhere(rows, stage, over);
    }
}

/// Tokens where they don't belong, and what isn't one.
fn add_elsewhere(rows: &mut Rows, stage: &Arc<Stage>, over: Over) {
    let (name, stage) = (over.name(), stage.clone());
    rows.add(format!("token: elsewhere, {name}"), async move {
        let user = stage.user(&over.server, "elsewhere").await;
        let bearer = user.bearer();
        for on in TRANSPORTS {
            let query = format!("?access_token={}", user.token);
            over.attach_is_refused(on, &query, &[], REFUSED).await;
            // Nor beside one that is good.
            over.attach_is_refused(on, &query, &[("authorization", &bearer)], REFUSED).await;
            for (name, value) in [
                ("authorization", "Basic YWxpY2U6c2VjcmV0".to_owned()),
                ("authorization", user.token.clone()),
                ("authorization", "Bearer".to_owned()),
                ("authorization", format!("Bearer {}", CANARY)),
                ("authorization", format!("Bearer {}", "x".repeat(9 * 1024))),
                ("authorization", format!("Bearer {} {}", user.token, user.token)),
            ] {
                over.attach_is_refused(on, "", &[(name, &value)], REFUSED).await;
            }
            for ticket in [CANARY, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "%00", "*"] {
                over.attach_is_refused(on, &format!("?ticket={ticket}"), &[], REFUSED).await;
            }
        }
        for path in ["/v1/sse", "/v1/poll"] {
            // Nobody has switched the cookie on.
            let asked = Asked::new("GET", path).with("cookie", format!("token={}", user.token));
            over.ask(&asked).await.is_refused(401, "unauthorized");
            over.ask(&Asked::new("GET", path)).await.is_refused(401, "unauthorized");
        }
        // The log of the server has no token, wherever it stood.
        let log = std::fs::read_to_string(over.server.log()).expect("a log");
        let signature = user.token.rsplit('.').next().expect("a signature");
        assert!(!log.contains(signature), "a token is in the log");
    });
}

fn tokens(issuer: &Issuer) -> Vec<(&'static str, String, (u16, &'static str, u16))> {
    let ed = || json!({ "alg": "EdDSA", "typ": "JWT", "kid": "ed" });
    let rsa = || json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa" });
    let payload = claims("mallory").to_string();
    let header = |name: &str, value: Value| {
        let mut header = ed();
        header[name] = value;
        issuer.signed(&header, &payload)
    };
    let claim = |name: &str, value: Value| {
        let mut claims = claims("mallory");
        claims[name] = value;
        issuer.signed(&ed(), &claims.to_string())
    };
    let without = |name: &str| {
        let mut claims = claims("mallory");
        claims.as_object_mut().expect("an object").remove(name);
        issuer.signed(&ed(), &claims.to_string())
    };
    let secret = json!({ "alg": "HS256", "typ": "JWT", "kid": "rsa" });
    let own_key = json!({ "kty": "OKP", "crv": "Ed25519", "x": issuer.ed_x(), "kid": "ed" });
    let good = issuer.good("mallory");
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let other = issuer.good("somebody-else");
    let other_signature = other.rsplit('.').next().expect("three parts");
    let unsigned = |alg: &str| token(&json!({ "alg": alg, "typ": "JWT" }), &payload, |_| Vec::new());
    let [der, pem] = issuer.rsa_public();
    let mut all = vec![
        ("alg none", unsigned("none"), REFUSED),
        ("alg None", unsigned("None"), REFUSED),
        ("alg nOnE", unsigned("nOnE"), REFUSED),
        ("no alg", token(&json!({ "typ": "JWT", "kid": "ed" }), &payload, |_| Vec::new()), REFUSED),
        ("no signature", format!("{signed}."), REFUSED),
        ("another's signature", format!("{signed}.{other_signature}"), REFUSED),
        ("a signature with something behind", format!("{signed}.{signature}AA"), REFUSED),
        ("a signature in other base64", format!("{signed}.{signature}=="), REFUSED),
        ("four parts", format!("{good}.x"), REFUSED),
        ("two parts", signed.to_owned(), REFUSED),
        ("HS256 by the public key in DER", signed_by_secret(&secret, &payload, &der), REFUSED),
        ("HS256 by the public key in PEM", signed_by_secret(&secret, &payload, &pem), REFUSED),
        ("HS256 by nothing", signed_by_secret(&secret, &payload, b""), REFUSED),
        ("HS256 by the Ed25519 key", signed_by_secret(&secret, &payload, issuer.ed_x().as_bytes()), REFUSED),
        ("RS256 by the Ed25519 key", issuer.signed(&rsa(), &payload), REFUSED),
        (
            "RS256 that names the Ed25519 key",
            issuer.signed_by_rsa(&json!({ "alg": "RS256", "kid": "ed" }), &payload),
            REFUSED,
        ),
        (
            "EdDSA that names the RSA key",
            issuer.signed(&json!({ "alg": "EdDSA", "kid": "rsa" }), &payload),
            REFUSED,
        ),
        (
            "PS256, which is not allowed",
            issuer.signed_by_rsa(&json!({ "alg": "PS256", "kid": "rsa" }), &payload),
            REFUSED,
        ),
        ("a kid of nobody", header("kid", json!("nobody")), REFUSED),
        ("a kid that is a path", header("kid", json!("../../../../dev/null")), REFUSED),
        ("a kid that is SQL", header("kid", json!("x' UNION SELECT 'secret' --")), REFUSED),
        ("a kid that is a URL", header("kid", json!("http://127.0.0.1:1/jwks.json")), REFUSED),
        ("a kid that is a number", header("kid", json!(1)), REFUSED),
        ("a kid that is null", header("kid", json!(null)), REFUSED),
        ("an empty kid", header("kid", json!("")), REFUSED),
        ("a kid of 4 KiB", header("kid", json!("k".repeat(4096))), REFUSED),
        ("crit", header("crit", json!(["exp"])), REFUSED),
        ("another typ", header("typ", json!("JWE")), REFUSED),
        ("exp as a text", claim("exp", json!(FAR.to_string())), REFUSED),
        ("exp as null", claim("exp", json!(null)), REFUSED),
        ("exp as a list", claim("exp", json!([FAR])), REFUSED),
        ("exp that is negative", claim("exp", json!(-1)), EXPIRED),
        ("no exp", without("exp"), REFUSED),
        ("exp in 2001", claim("exp", json!(1_000_000_000)), EXPIRED),
        ("nbf ahead", claim("nbf", json!(FAR - 1)), REFUSED),
        ("nbf as a text", claim("nbf", json!("0")), REFUSED),
        ("no iss", without("iss"), REFUSED),
        ("another iss", claim("iss", json!("evil.test")), REFUSED),
        ("an iss that begins alike", claim("iss", json!("issuer.test.evil")), REFUSED),
        ("no aud", without("aud"), REFUSED),
        ("another aud", claim("aud", json!("other")), REFUSED),
        ("auds of others", claim("aud", json!(["a", "b"])), REFUSED),
        ("no sub", without("sub"), REFUSED),
        ("an empty sub", claim("sub", json!("")), REFUSED),
        ("a sub that is a number", claim("sub", json!(7)), REFUSED),
        ("a sub with braces", claim("sub", json!("a}:log")), REFUSED),
        ("a sub with a newline", claim("sub", json!("a\nb")), REFUSED),
        ("a sub of 129", claim("sub", json!("a".repeat(129))), REFUSED),
        ("no scope", without("scope"), FORBIDDEN),
        ("another scope", claim("scope", json!("messages:readonly")), FORBIDDEN),
        ("a token of 9 KiB", claim("x", json!("x".repeat(7 * 1024))), REFUSED),
        ("a claim twice", issuer.signed(&ed(), &payload.replacen('{', "{\"sub\":\"admin\",", 1)), REFUSED),
        ("a payload that is no JSON", issuer.signed(&ed(), CANARY), REFUSED),
        ("a payload that is a list", issuer.signed(&ed(), "[]"), REFUSED),
        ("nothing but dots", "..".to_owned(), REFUSED),
        ("a payload of deep JSON", issuer.signed(&ed(), &"[".repeat(4000)), REFUSED),
        (
            "a header that is no JSON",
            format!("{}.{}.{signature}", base64(b"x"), base64(payload.as_bytes())),
            REFUSED,
        ),
    ];
    // A token does not choose the key that it is verified with: these are ignored, and the key of nobody is nobody's.
    for name in ["jku", "x5u"] {
        let mut header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": "mine" });
        header[name] = json!("http://127.0.0.1:1/jwks.json");
        all.push((name, issuer.signed(&header, &payload), REFUSED));
    }
    let embedded = json!({ "alg": "EdDSA", "typ": "JWT", "kid": "mine", "jwk": own_key });
    all.push(("an embedded jwk", issuer.signed(&embedded, &payload), REFUSED));
    all
}
