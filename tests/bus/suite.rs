//! The tests, for any bus.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeway::application::ports::bus::{
    Appended, BusError, EVENT_KEY_WINDOW, EVENT_MAX_BYTES, LivePayload, LiveSubscription, LogEntry, LogSlice,
    ReadFrom,
};
use edgeway::domain::ids::{DialogId, FeedKey, ID_MAX_BYTES, UserId};
use tokio::task::JoinSet;

use super::contract::BusUnderTest;
use super::recorder::Recorder;

/// Makes a `#[tokio::test]` of every test of the suite, for one bus.
macro_rules! bus_suite {
    ($bus:ty: $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                crate::suite::$name(&<$bus as crate::contract::BusUnderTest>::start().await).await;
            }
        )*
    };
    ($bus:ty) => {
        crate::suite::bus_suite! { $bus:
            what_is_appended_is_heard_live_in_order_and_as_it_lies_in_the_log
            once_subscribed_nothing_is_missed
            an_empty_log_has_an_epoch_that_stays
            a_log_is_read_from_an_offset
            a_log_is_read_from_a_time
            the_newest_entries_are_read
            a_trimmed_log_says_what_it_still_has
            a_forgotten_log_begins_a_new_epoch
            a_repeated_event_key_appends_nothing
            an_event_key_may_come_again_after_the_window
            the_same_event_key_in_another_feed_is_another_event
            ephemerals_reach_everyone_and_are_in_no_log
            an_event_of_the_largest_size_passes_and_a_larger_one_is_refused
            feeds_do_not_hear_each_other
            a_dropped_subscription_hears_no_more_and_the_others_do
            a_sink_may_subscribe_again
            concurrent_appends_keep_one_order_for_all
            concurrent_repeats_of_a_key_append_once
            times_never_fall_and_agree_with_the_time_of_the_bus
            odd_ids_name_feeds_of_their_own
        }
    };
}
pub(crate) use bus_suite;

fn dialog(name: &str) -> FeedKey {
    FeedKey::Dialog(DialogId::parse(name).unwrap())
}

fn event(n: usize) -> Bytes {
    Bytes::from(format!(r#"{{"type":"x.test","n":{n}}}"#))
}

async fn append(under_test: &impl BusUnderTest, feed: &FeedKey, n: usize) -> Appended {
    under_test.log().append(feed, &format!("k:{n}"), event(n)).await.unwrap()
}

async fn read(under_test: &impl BusUnderTest, feed: &FeedKey, from: ReadFrom, limit: usize) -> LogSlice {
    under_test.bus().read(feed, from, limit).await.unwrap()
}

async fn listen(
    under_test: &impl BusUnderTest,
    feed: &FeedKey,
) -> (Arc<Recorder>, Box<dyn LiveSubscription>) {
    let recorder = Arc::new(Recorder::default());
    let subscription = under_test.bus().subscribe(feed, recorder.clone()).await.unwrap();
    (recorder, subscription)
}

fn offsets(entries: &[LogEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.offset).collect()
}

pub(crate) async fn what_is_appended_is_heard_live_in_order_and_as_it_lies_in_the_log(
    under_test: &impl BusUnderTest,
) {
    let feed = dialog("d");
    let (recorder, _subscription) = listen(under_test, &feed).await;
    let mut appended = Vec::new();
    for n in 1..=20 {
        appended.push(append(under_test, &feed, n).await);
    }
    let heard = recorder.entries(20).await;
    assert_eq!(heard, read(under_test, &feed, ReadFrom::AfterOffset(0), 100).await.entries);
    for (n, (entry, appended)) in (1..).zip(heard.iter().zip(&appended)) {
        assert_eq!((entry.offset, &entry.json), (n as u64, &event(n)));
        assert_eq!((&entry.epoch, entry.offset), (&appended.position.epoch, appended.position.offset));
        assert_eq!((entry.at, appended.repeated), (appended.at, false));
    }
}

/// Writers are busy while it subscribes: what is in the log when it is confirmed, and what is heard live, together
/// have no hole.
pub(crate) async fn once_subscribed_nothing_is_missed(under_test: &impl BusUnderTest) {
    const EVENTS: usize = 200;
    let feed = dialog("d");
    let (log, events) = (under_test.log(), feed.clone());
    let mut writer = JoinSet::new();
    writer.spawn(async move {
        for n in 1..EVENTS {
            log.append(&events, &format!("k:{n}"), event(n)).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut subscribers = Vec::new();
    for _ in 0..20 {
        let (recorder, subscription) = listen(under_test, &feed).await;
        let head = read(under_test, &feed, ReadFrom::Newest, 0).await.head.offset;
        subscribers.push((recorder, subscription, head));
        tokio::task::yield_now().await;
    }
    writer.join_next().await.unwrap().unwrap();
    // After all have subscribed, so that each has something to wait for.
    append(under_test, &feed, EVENTS).await;
    for (recorder, _subscription, head) in subscribers {
        let heard = recorder.entries_until(EVENTS as u64).await;
        let behind_the_head: Vec<u64> = offsets(&heard).into_iter().filter(|offset| *offset > head).collect();
        assert_eq!(behind_the_head, (head + 1..=EVENTS as u64).collect::<Vec<_>>());
    }
}

pub(crate) async fn an_empty_log_has_an_epoch_that_stays(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    let empty = read(under_test, &feed, ReadFrom::Newest, 10).await;
    assert!(!empty.head.epoch.is_empty());
    assert_eq!((empty.head.offset, empty.first_offset, empty.entries.len()), (0, 1, 0));
    assert_eq!(read(under_test, &feed, ReadFrom::AfterOffset(7), 10).await, empty);
    let first = append(under_test, &feed, 1).await;
    assert_eq!((first.position.epoch, first.position.offset), (empty.head.epoch, 1));
}

pub(crate) async fn a_log_is_read_from_an_offset(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    for n in 1..=10 {
        append(under_test, &feed, n).await;
    }
    for (after, limit, expected) in [
        (0, 100, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10][..]),
        (0, 3, &[1, 2, 3]),
        (4, 3, &[5, 6, 7]),
        (9, 3, &[10]),
        (10, 3, &[]),
        (99, 3, &[]),
    ] {
        let slice = read(under_test, &feed, ReadFrom::AfterOffset(after), limit).await;
        assert_eq!((slice.head.offset, slice.first_offset), (10, 1));
        assert_eq!(offsets(&slice.entries), expected, "after {after}, {limit}");
    }
    let last = read(under_test, &feed, ReadFrom::AfterOffset(9), 1).await;
    assert_eq!(last.entries[0].json, event(10));
    assert_eq!(last.entries[0].epoch, last.head.epoch);
    assert!(read(under_test, &feed, ReadFrom::AfterOffset(u64::MAX), 3).await.entries.is_empty());
}

pub(crate) async fn a_log_is_read_from_a_time(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    let mut times = Vec::new();
    for n in 1..=3 {
        times.push(append(under_test, &feed, n).await.at);
        under_test.let_time_pass().await;
    }
    let since =
        async |time, limit| offsets(&read(under_test, &feed, ReadFrom::Since(time), limit).await.entries);
    assert_eq!(since(times[0].minus(Duration::from_secs(60)), 10).await, [1, 2, 3]);
    assert_eq!(since(times[0], 10).await, [1, 2, 3]);
    assert_eq!(since(times[1], 10).await, [2, 3]);
    assert_eq!(since(times[0], 2).await, [1, 2]);
    assert_eq!(since(times[1].plus(Duration::from_millis(1)), 10).await, [3]);
    assert!(since(times[2].plus(Duration::from_millis(1)), 10).await.is_empty());
}

pub(crate) async fn the_newest_entries_are_read(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    for n in 1..=5 {
        append(under_test, &feed, n).await;
    }
    for (limit, expected) in [(0, &[][..]), (2, &[4, 5]), (5, &[1, 2, 3, 4, 5]), (100, &[1, 2, 3, 4, 5])] {
        let slice = read(under_test, &feed, ReadFrom::Newest, limit).await;
        assert_eq!(offsets(&slice.entries), expected, "{limit}");
        assert_eq!((slice.head.offset, slice.first_offset), (5, 1));
    }
}

pub(crate) async fn a_trimmed_log_says_what_it_still_has(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    for n in 1..=10 {
        append(under_test, &feed, n).await;
    }
    under_test.trim(&feed, 3).await;
    let slice = read(under_test, &feed, ReadFrom::AfterOffset(2), 100).await;
    assert_eq!((slice.head.offset, slice.first_offset), (10, 8));
    assert_eq!(offsets(&slice.entries), [8, 9, 10]);

    under_test.trim(&feed, 0).await;
    let slice = read(under_test, &feed, ReadFrom::AfterOffset(2), 100).await;
    assert_eq!((slice.head.offset, slice.first_offset, slice.entries.len()), (10, 11, 0));

    assert_eq!(append(under_test, &feed, 11).await.position.offset, 11);
    let slice = read(under_test, &feed, ReadFrom::Newest, 100).await;
    assert_eq!((slice.head.offset, slice.first_offset, slice.entries.len()), (11, 11, 1));
}

pub(crate) async fn a_forgotten_log_begins_a_new_epoch(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    let old = append(under_test, &feed, 1).await.position;
    under_test.forget(&feed).await;
    let new = append(under_test, &feed, 1).await;
    assert_ne!(new.position.epoch, old.epoch);
    assert_eq!((new.position.offset, new.repeated), (1, false));
}

pub(crate) async fn a_repeated_event_key_appends_nothing(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    let (recorder, _subscription) = listen(under_test, &feed).await;
    let first = append(under_test, &feed, 1).await;
    append(under_test, &feed, 2).await;
    under_test.let_time_pass().await;
    let repeated = append(under_test, &feed, 1).await;
    assert_eq!(repeated, Appended { repeated: true, ..first });
    append(under_test, &feed, 3).await;
    assert_eq!(offsets(&recorder.entries(3).await), [1, 2, 3]);
    assert_eq!(read(under_test, &feed, ReadFrom::AfterOffset(0), 100).await.entries.len(), 3);
}

pub(crate) async fn an_event_key_may_come_again_after_the_window(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    for n in 1..=EVENT_KEY_WINDOW + 1 {
        append(under_test, &feed, n).await;
    }
    assert!(append(under_test, &feed, 2).await.repeated);
    let again = append(under_test, &feed, 1).await;
    assert_eq!((again.position.offset, again.repeated), (EVENT_KEY_WINDOW as u64 + 2, false));
}

pub(crate) async fn the_same_event_key_in_another_feed_is_another_event(under_test: &impl BusUnderTest) {
    for feed in [dialog("d"), dialog("e"), FeedKey::User(UserId::parse("d").unwrap())] {
        assert!(!append(under_test, &feed, 1).await.repeated);
    }
}

pub(crate) async fn ephemerals_reach_everyone_and_are_in_no_log(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    let (first, _one) = listen(under_test, &feed).await;
    let (second, _two) = listen(under_test, &feed).await;
    let typing = Bytes::from_static(br#"{"type":"typing"}"#);
    append(under_test, &feed, 1).await;
    under_test.bus().publish_ephemeral(&feed, typing.clone()).await.unwrap();
    append(under_test, &feed, 2).await;
    for recorder in [first, second] {
        let heard = recorder.at_least(3).await;
        assert!(matches!(&heard[0], LivePayload::Logged(entry) if entry.offset == 1), "{heard:?}");
        assert_eq!(heard[1], LivePayload::Ephemeral(typing.clone()));
        assert!(matches!(&heard[2], LivePayload::Logged(entry) if entry.offset == 2), "{heard:?}");
    }
    let slice = read(under_test, &feed, ReadFrom::AfterOffset(0), 100).await;
    assert_eq!(
        slice.entries.iter().map(|entry| entry.json.clone()).collect::<Vec<_>>(),
        [event(1), event(2)]
    );
    // Nobody listens here, and that is nobody's fault.
    under_test.bus().publish_ephemeral(&dialog("silent"), typing).await.unwrap();
}

pub(crate) async fn an_event_of_the_largest_size_passes_and_a_larger_one_is_refused(
    under_test: &impl BusUnderTest,
) {
    let feed = dialog("d");
    let (recorder, _subscription) = listen(under_test, &feed).await;
    let largest = Bytes::from(vec![b' '; EVENT_MAX_BYTES]);
    let too_large = Bytes::from(vec![b' '; EVENT_MAX_BYTES + 1]);
    let log = under_test.log();
    assert_eq!(log.append(&feed, "k:large", too_large.clone()).await, Err(BusError::TooLarge));
    let ephemeral = under_test.bus().publish_ephemeral(&feed, too_large).await;
    assert_eq!(ephemeral, Err(BusError::TooLarge));
    assert_eq!(log.append(&feed, "k:large", largest.clone()).await.unwrap().position.offset, 1);
    assert_eq!(recorder.entries(1).await[0].json, largest);
    assert_eq!(recorder.so_far().len(), 1);
    assert_eq!(read(under_test, &feed, ReadFrom::AfterOffset(0), 10).await.entries[0].json, largest);
}

pub(crate) async fn feeds_do_not_hear_each_other(under_test: &impl BusUnderTest) {
    let feeds = [dialog("d"), dialog("d.e"), FeedKey::User(UserId::parse("d").unwrap())];
    let mut listeners = Vec::new();
    for feed in &feeds {
        listeners.push(listen(under_test, feed).await);
    }
    for (n, feed) in feeds.iter().enumerate() {
        append(under_test, feed, n).await;
    }
    for (n, (recorder, _subscription)) in listeners.iter().enumerate() {
        let heard = recorder.entries(1).await;
        assert_eq!(heard.len(), 1);
        assert_eq!((heard[0].offset, &heard[0].json), (1, &event(n)));
    }
}

pub(crate) async fn a_dropped_subscription_hears_no_more_and_the_others_do(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    let (gone, gone_subscription) = listen(under_test, &feed).await;
    let (stays, _subscription) = listen(under_test, &feed).await;
    append(under_test, &feed, 1).await;
    gone.at_least(1).await;
    drop(gone_subscription);
    append(under_test, &feed, 2).await;
    append(under_test, &feed, 3).await;
    assert_eq!(offsets(&stays.entries(3).await), [1, 2, 3]);
    assert_eq!(offsets(&gone.entries(1).await), [1]);
}

/// The new subscription begins before the old one ends: dropping the old one must not take the new one with it.
pub(crate) async fn a_sink_may_subscribe_again(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    let recorder = Arc::new(Recorder::default());
    let old = under_test.bus().subscribe(&feed, recorder.clone()).await.unwrap();
    let _new = under_test.bus().subscribe(&feed, recorder.clone()).await.unwrap();
    drop(old);
    append(under_test, &feed, 1).await;
    append(under_test, &feed, 2).await;
    assert_eq!(offsets(&recorder.entries(2).await), [1, 2]);
}

pub(crate) async fn concurrent_appends_keep_one_order_for_all(under_test: &impl BusUnderTest) {
    const WRITERS: usize = 16;
    const EVENTS_EACH: usize = 50;
    const EVENTS: usize = WRITERS * EVENTS_EACH;
    let feed = dialog("d");
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(listen(under_test, &feed).await);
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (log, feed) = (under_test.log(), feed.clone());
        writers.spawn(async move {
            for n in 0..EVENTS_EACH {
                let n = writer * EVENTS_EACH + n;
                log.append(&feed, &format!("k:{n}"), event(n)).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let logged = read(under_test, &feed, ReadFrom::AfterOffset(0), EVENTS + 1).await.entries;
    assert_eq!(offsets(&logged), (1..=EVENTS as u64).collect::<Vec<_>>());
    for (recorder, _subscription) in &listeners {
        assert_eq!(recorder.entries(EVENTS).await, logged);
    }
}

pub(crate) async fn concurrent_repeats_of_a_key_append_once(under_test: &impl BusUnderTest) {
    let feed = dialog("d");
    let mut writers = JoinSet::new();
    for _ in 0..16 {
        let (log, feed) = (under_test.log(), feed.clone());
        writers.spawn(async move { log.append(&feed, "k:1", event(1)).await.unwrap() });
    }
    let answers = writers.join_all().await;
    assert_eq!(answers.iter().filter(|appended| !appended.repeated).count(), 1);
    assert!(answers.iter().all(|appended| appended.position.offset == 1));
    assert_eq!(read(under_test, &feed, ReadFrom::AfterOffset(0), 10).await.entries.len(), 1);
}

pub(crate) async fn times_never_fall_and_agree_with_the_time_of_the_bus(under_test: &impl BusUnderTest) {
    /// How far the bus's own estimate of its time may be off.
    const TOLERANCE: Duration = Duration::from_secs(1);
    let feed = dialog("d");
    let before = under_test.bus().time();
    for n in 1..=5 {
        append(under_test, &feed, n).await;
        under_test.let_time_pass().await;
    }
    let after = under_test.bus().time();
    let times: Vec<_> = read(under_test, &feed, ReadFrom::AfterOffset(0), 10)
        .await
        .entries
        .iter()
        .map(|entry| entry.at)
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(times[0].plus(TOLERANCE) >= before && times[4].minus(TOLERANCE) <= after, "{times:?}");
    assert!(under_test.bus().settled() <= under_test.bus().time());
}

pub(crate) async fn odd_ids_name_feeds_of_their_own(under_test: &impl BusUnderTest) {
    let ids = [
        "0",
        "a",
        "A",
        "a:b",
        "a.b",
        "a@b",
        "a-b",
        "a_b",
        "a:log",
        "a:live",
        "d:a",
        &"x".repeat(ID_MAX_BYTES),
    ];
    let feeds: Vec<FeedKey> = ids
        .iter()
        .flat_map(|id| {
            [FeedKey::Dialog(DialogId::parse(id).unwrap()), FeedKey::User(UserId::parse(id).unwrap())]
        })
        .collect();
    let mut listeners = Vec::new();
    for feed in &feeds {
        listeners.push(listen(under_test, feed).await);
    }
    for (n, feed) in feeds.iter().enumerate() {
        assert_eq!(append(under_test, feed, n).await.position.offset, 1, "{feed}");
    }
    for (n, (feed, (recorder, _subscription))) in feeds.iter().zip(&listeners).enumerate() {
        assert_eq!(recorder.entries(1).await[0].json, event(n), "{feed}");
        let slice = read(under_test, feed, ReadFrom::Newest, 10).await;
        assert_eq!((slice.entries.len(), &slice.entries[0].json), (1, &event(n)), "{feed}");
    }
}
