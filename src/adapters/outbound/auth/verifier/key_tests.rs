//! What a verifier does while keys come, go and fail to come.

use async_trait::async_trait;
use serde_json::json;
use tokio_util::task::TaskTracker;

use super::super::keyring::{DEMAND_INTERVAL, KEYS_MAX_AGE};
use super::super::source::{FETCH_TIMEOUT, FetchError};
use super::super::testing::{JwksServer, ScriptedSource, jwks as set_of};
use super::fixture::{EC, ED, NOW, claims, claims_with, clock, config, header_with, start};
use super::*;
use crate::application::ports::clock::ManualClock;

/// A verifier with keys from a source, which are there already.
async fn fetching(source: &ScriptedSource, clock: Arc<ManualClock>, tasks: &VitalTasks) -> Arc<JwtVerifier> {
    let config = config();
    let fetched = FetchedKeys::start(
        Box::new(source.clone()),
        config.refresh_interval,
        Arc::clone(&clock) as Arc<dyn Clock>,
        tasks,
        &CancellationToken::new(),
    );
    Arc::new(JwtVerifier::with_keyring(Keyring::Fetched(fetched), config, clock))
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_found_by_its_unknown_kid() {
    let source = ScriptedSource::new(set_of(&[&ED]));
    let verifier = fetching(&source, clock(), &VitalTasks::default()).await;
    assert!(verifier.verify(&ED.token(&claims())).await.is_ok());
    source.publish(set_of(&[&ED, &EC]));
    assert!(verifier.verify(&EC.token(&claims())).await.is_ok());
    assert!(verifier.verify(&ED.token(&claims())).await.is_ok());
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_stops_working_at_the_next_refresh_even_for_tokens_seen_before() {
    let source = ScriptedSource::new(set_of(&[&ED, &EC]));
    let verifier = fetching(&source, clock(), &VitalTasks::default()).await;
    let token = ED.token(&claims());
    assert!(verifier.verify(&token).await.is_ok());
    source.publish(set_of(&[&EC]));
    assert!(verifier.verify(&token).await.is_ok(), "nobody knows yet");
    source.fetches_reach(2).await;
    tokio::task::yield_now().await;
    assert_eq!(verifier.verify(&token).await, Err(AuthError::Unauthorized));
    assert!(verifier.verify(&EC.token(&claims())).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_flood_causes_one_fetch_in_ten_seconds() {
    let (source, clock) = (ScriptedSource::new(set_of(&[&ED])), clock());
    let verifier = fetching(&source, Arc::clone(&clock), &VitalTasks::default()).await;
    assert!(verifier.verify(&ED.token(&claims())).await.is_ok());
    for second in 0..30 {
        for n in 0..20 {
            let header = header_with(json!({ "kid": format!("k{second}-{n}") }));
            let token = ED.token_with(&header, &claims());
            assert_eq!(verifier.verify(&token).await, Err(AuthError::Unauthorized));
        }
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(source.fetches(), 1 + 3);
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_for_a_key_share_one_fetch() {
    let source = ScriptedSource::gated(set_of(&[&ED]), 1);
    let verifier = fetching(&source, clock(), &VitalTasks::default()).await;
    assert!(verifier.verify(&ED.token(&claims())).await.is_ok());
    source.publish(set_of(&[&ED, &EC]));
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..100 {
        let verifier = Arc::clone(&verifier);
        let token = EC.token(&claims_with(json!({ "n": n })));
        waiting.spawn(async move { verifier.verify(&token).await.is_ok() });
    }
    source.fetches_reach(2).await;
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    source.answer_one();
    assert!(waiting.join_all().await.into_iter().all(|ok| ok));
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_does_not_stop_the_fetch() {
    let source = ScriptedSource::gated(set_of(&[&ED]), 1);
    let verifier = fetching(&source, clock(), &VitalTasks::default()).await;
    assert!(verifier.verify(&ED.token(&claims())).await.is_ok());
    source.publish(set_of(&[&EC]));
    let token = EC.token(&claims());
    tokio::select! {
        biased;
        _ = verifier.verify(&token) => panic!("nothing answers"),
        () = source.fetches_reach(2) => {}
    }
    source.answer_one();
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn with_the_issuer_down_keys_are_used_for_24_hours_and_no_longer() {
    let (source, clock) = (ScriptedSource::new(set_of(&[&ED])), clock());
    let verifier = fetching(&source, Arc::clone(&clock), &VitalTasks::default()).await;
    let token = ED.token(&claims_with(json!({ "exp": NOW + 90_000 })));
    assert!(verifier.verify(&token).await.is_ok());
    source.publish(None);
    clock.advance(KEYS_MAX_AGE);
    assert!(verifier.verify(&token).await.is_ok());
    clock.advance(Duration::from_millis(1));
    assert_eq!(verifier.verify(&token).await, Err(AuthError::Unavailable));
    assert_eq!(verifier.verify("rubbish").await, Err(AuthError::Unauthorized));
    assert!(verifier.jwks_fetches().failed > 0);

    source.publish(set_of(&[&ED]));
    clock.advance(DEMAND_INTERVAL);
    assert!(verifier.verify(&token).await.is_ok(), "back as soon as the issuer is");
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_the_start_is_tried_again_and_nothing_else_is_lost() {
    let source = ScriptedSource::new(None);
    let verifier = fetching(&source, clock(), &VitalTasks::default()).await;
    let token = ED.token(&claims());
    assert_eq!(verifier.verify(&token).await, Err(AuthError::Unavailable));
    source.publish(set_of(&[&ED]));
    source.fetches_reach(source.fetches() + 1).await;
    tokio::task::yield_now().await;
    assert!(verifier.verify(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn rubbish_in_the_place_of_a_set_leaves_the_keys_and_an_empty_set_takes_them() {
    let source = ScriptedSource::new(set_of(&[&ED]));
    let verifier = fetching(&source, clock(), &VitalTasks::default()).await;
    let token = ED.token(&claims());
    assert!(verifier.verify(&token).await.is_ok());
    source.publish("<html>502</html>".to_owned());
    source.fetches_reach(2).await;
    tokio::task::yield_now().await;
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!(verifier.jwks_fetches(), FetchCounts { ok: 1, failed: 1 });
    source.publish(r#"{"keys":[]}"#.to_owned());
    source.fetches_reach(3).await;
    tokio::task::yield_now().await;
    assert_eq!(verifier.verify(&token).await, Err(AuthError::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_never_answers_keeps_nobody_waiting_for_long() {
    let source = ScriptedSource::gated(set_of(&[&ED]), 0);
    let verifier = fetching(&source, clock(), &VitalTasks::default()).await;
    let token = ED.token(&claims());
    let limit = FETCH_TIMEOUT + Duration::from_millis(1);
    let waited = tokio::time::timeout(limit, verifier.verify(&token));
    assert_eq!(waited.await.unwrap(), Err(AuthError::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_verifier() {
    let (source, tasks) = (ScriptedSource::gated(set_of(&[&ED]), 0), TaskTracker::new());
    let verifier = fetching(&source, clock(), &tasks.clone().into()).await;
    tasks.close();
    assert_eq!(tasks.len(), 1);
    drop(verifier);
    tasks.wait().await;
}

/// What nobody thought of.
struct Panicking;

#[async_trait]
impl JwksSource for Panicking {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        panic!("as it happens")
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_told_for_keys_are_never_new_again() {
    let (vital, interval) = (VitalTasks::default(), config().refresh_interval);
    let _fetched =
        FetchedKeys::start(Box::new(Panicking), interval, clock(), &vital, &CancellationToken::new());
    let broken = tokio::time::timeout(FETCH_TIMEOUT, vital.broken()).await;
    assert_eq!(broken, Ok("the refresh of the signing keys"));
}

#[tokio::test]
async fn keys_come_by_http_and_a_flood_of_unknown_kids_asks_once() {
    let server = JwksServer::start(200, set_of(&[&ED]).into_bytes()).await;
    let config = Config { keys: KeyOrigin::JwksUrl(server.url()), ..config() };
    let verifier = Arc::new(start(config, clock()).unwrap());
    assert!(verifier.verify(&ED.token(&claims())).await.is_ok());
    assert_eq!(server.fetches(), 1);
    server.publish(set_of(&[&ED, &EC]));
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..200 {
        let verifier = Arc::clone(&verifier);
        let header = header_with(json!({ "kid": format!("k{n}") }));
        let token = ED.token_with(&header, &claims());
        flood.spawn(async move { verifier.verify(&token).await });
    }
    assert!(flood.join_all().await.into_iter().all(|outcome| outcome == Err(AuthError::Unauthorized)));
    assert!(verifier.verify(&EC.token(&claims())).await.is_ok(), "the flood's fetch brought it");
    assert_eq!(server.fetches(), 2);
}

#[tokio::test]
async fn keys_come_from_a_file_that_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, set_of(&[&ED])).unwrap();
    let verifier = start(Config { keys: KeyOrigin::JwksFile(path.clone()), ..config() }, clock()).unwrap();
    assert!(verifier.verify(&ED.token(&claims())).await.is_ok());
    std::fs::write(&path, set_of(&[&EC])).unwrap();
    assert!(verifier.verify(&EC.token(&claims())).await.is_ok());
    assert_eq!(verifier.verify(&ED.token(&claims())).await, Err(AuthError::Unauthorized));
}
