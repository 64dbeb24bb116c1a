//! Many feeds at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use edgeway::application::ports::bus::{EventBus, LivePayload, LiveSink};
use futures_util::StreamExt;

use super::on_redis::{OnRedis, dialog, until};

const FEEDS: usize = 10_000;
/// Far more than it takes: a slow machine is no failure.
const BOUND: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Count {
    interrupted: AtomicUsize,
    logged: AtomicUsize,
}

impl LiveSink for Count {
    fn live(&self, payload: LivePayload) {
        match payload {
            LivePayload::Interrupted => self.interrupted.fetch_add(1, Ordering::SeqCst),
            _ => self.logged.fetch_add(1, Ordering::SeqCst),
        };
    }
}

#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_feeds_are_subscribed_and_subscribed_again_in_a_moment() {
    let on_redis = OnRedis::alone().await;
    let count = Arc::new(Count::default());
    let started = now();
    let subscribe = |n: usize| {
        let (bus, count) = (on_redis.bus.clone(), count.clone());
        async move { bus.subscribe(&dialog(&format!("d{n}")), count).await.unwrap() }
    };
    let subscriptions: Vec<_> =
        futures_util::stream::iter(0..FEEDS).map(subscribe).buffer_unordered(FEEDS).collect().await;
    let subscribed = started.elapsed();
    println!("{FEEDS} subscribed in {subscribed:?}");
    assert!(subscribed < BOUND);

    let started = now();
    on_redis.kill_live_links();
    until("all are told", || count.interrupted.load(Ordering::SeqCst) == FEEDS).await;
    let again = started.elapsed();
    println!("{FEEDS} subscribed again in {again:?}");
    assert!(again < BOUND);

    for n in [0, 4_999, 9_999] {
        on_redis.append(&dialog(&format!("d{n}")), "a").await;
    }
    until("what follows is heard", || count.logged.load(Ordering::SeqCst) == 3).await;
    drop(subscriptions);
    let channels = || on_redis.call::<Vec<String>>("PUBSUB", &["SHARDCHANNELS", "test*:{*"]).len();
    until("the server is told that nobody listens any more", || channels() == 0).await;
    assert_eq!(count.interrupted.load(Ordering::SeqCst), FEEDS);
}

/// Listeners come and go faster than the server confirms: in the end it knows what is wanted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_feed_that_is_left_and_joined_over_and_over_is_heard() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    for n in 1..=300 {
        let impatient = on_redis.bus.subscribe(&feed, Arc::new(Count::default()));
        // Gives up at some moment between at once and too late.
        let _ = tokio::time::timeout(Duration::from_micros(n % 7 * 50), impatient).await;
        let (recorder, _subscription) = on_redis.listen(&feed).await;
        assert_eq!(on_redis.append(&feed, &n.to_string()).await, n);
        recorder.at_least(1).await;
    }
}
