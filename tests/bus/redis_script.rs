//! The public script, called by hand as a Store in another language calls it.

use edgeway::adapters::outbound::redis::bus::PUBLISH_SCRIPT;
use edgeway::application::ports::bus::{EVENT_KEY_WINDOW, EVENT_MAX_BYTES, EventBus, LivePayload};

use super::on_redis::{OnRedis, dialog, json};

type Answer = (String, u64, String);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_by_hand_is_heard_and_in_the_log() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    let event = r#"{"type":"x.hand","dialog_id":"d"}"#;
    let (epoch, offset, id): Answer = on_redis.publish_by_hand(&feed, event, "m:1").unwrap();
    let entry = recorder.entries(1).await.remove(0);
    assert_eq!((&*entry.epoch, entry.offset, &entry.json[..]), (&*epoch, offset, event.as_bytes()));
    assert_eq!(id.split_once('-').unwrap().0, entry.at.0.to_string());
    assert_eq!(on_redis.read(&feed, 0).await.entries, [entry]);
    let fields: Vec<(String, Vec<(String, String)>)> =
        on_redis.call("XRANGE", &[&on_redis.keys.log(&feed), "-", "+"]);
    let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(fields, [(id, vec![of("o", "1"), of("e", event), of("k", "m:1")])]);
    let head: Vec<String> = on_redis.call("HMGET", &[&on_redis.keys.meta(&feed), "epoch", "offset"]);
    assert_eq!(head, [epoch, "1".to_owned()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_call_has_the_answer_of_the_first() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    let publish = |key: &str| on_redis.publish_by_hand::<Answer>(&feed, "{}", key).unwrap();
    let first = publish("a");
    publish("b");
    assert_eq!(publish("a"), first);
    assert_eq!(publish("c").1, 3);
    assert_eq!(recorder.entries(3).await.len(), 3);
    assert_eq!(on_redis.read(&feed, 0).await.head.offset, 3);
}

/// The script looks its tags up before it searches; who appends without the script leaves no tag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_appended_without_the_script_is_known_too() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    let (log, meta) = (on_redis.keys.log(&feed), on_redis.keys.meta(&feed));
    on_redis.append(&feed, "a").await;
    let id: String = on_redis.call("XADD", &[&log, "*", "o", "2", "e", "{}", "k", "by hand"]);
    on_redis.call::<u64>("HINCRBY", &[&meta, "offset", "1"]);
    let publish = |key: &str| on_redis.publish_by_hand::<Answer>(&feed, "{}", key).unwrap();
    assert_eq!((publish("by hand").1, publish("by hand").2), (2, id));
    assert_eq!(publish("a").1, 1);
    for n in 3..EVENT_KEY_WINDOW as u64 + 2 {
        assert_eq!(publish(&format!("more {n}")).1, n);
    }
    assert_eq!((publish("by hand").1, publish("a").1), (2, EVENT_KEY_WINDOW as u64 + 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_script_refuses_leaves_nothing_behind() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    let (log, meta, live) = (on_redis.keys.log(&feed), on_redis.keys.meta(&feed), on_redis.keys.live(&feed));
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    let too_large = " ".repeat(EVENT_MAX_BYTES + 1);
    let long_key = "k".repeat(513);
    for (code, event, key, maxlen, ttl) in [
        ("TOOLARGE", &*too_large, "k", "1000", "86400"),
        ("BADARGS", "{}", "", "1000", "86400"),
        ("BADARGS", "{}", &long_key, "1000", "86400"),
        ("BADARGS", "{}", "k", "0", "86400"),
        ("BADARGS", "{}", "k", "-1", "86400"),
        ("BADARGS", "{}", "k", "1e3", "86400"),
        ("BADARGS", "{}", "k", "1000", "0"),
        ("BADARGS", "{}", "k", "1000", "9223372036854775807"),
    ] {
        let arguments = [PUBLISH_SCRIPT, "3", &log, &meta, &live, event, key, maxlen, ttl];
        let refused = on_redis.try_call::<Answer>("EVAL", &arguments).unwrap_err();
        assert_eq!(refused.code(), Some(code), "{key:.10} {maxlen} {ttl}: {refused}");
    }
    assert_eq!(on_redis.call::<u64>("EXISTS", &[&log, &meta]), 0);
    assert_eq!(on_redis.append(&feed, "k").await, 1);
    assert_eq!(recorder.entries(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_expire_and_heads_outlive_them() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    let ttl = |key: &str| on_redis.call::<i64>("TTL", &[key]);
    let head = on_redis.read(&feed, 0).await.head;
    assert!(ttl(&on_redis.keys.meta(&feed)) > 30 * 86_400 - 60);
    on_redis.append(&feed, "a").await;
    assert!((86_400 - 60..=86_400).contains(&ttl(&on_redis.keys.log(&feed))));
    assert!(ttl(&on_redis.keys.meta(&feed)) > 30 * 86_400 - 60);
    on_redis.call::<u64>("DEL", &[&on_redis.keys.log(&feed)]);
    let slice = on_redis.read(&feed, 0).await;
    assert_eq!((slice.head.epoch, slice.head.offset, slice.first_offset), (head.epoch, 1, 2));
    assert_eq!(on_redis.append(&feed, "b").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_head_begins_a_new_epoch_without_the_old_entries() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    on_redis.append(&feed, "a").await;
    let old = on_redis.read(&feed, 0).await.head.epoch;
    for broken in [&["epoch"][..], &["offset"], &["epoch", "offset"]] {
        on_redis.call::<u64>("HDEL", &[&[&*on_redis.keys.meta(&feed)], broken].concat());
        assert_eq!(on_redis.append(&feed, "a").await, 1);
        let slice = on_redis.read(&feed, 0).await;
        assert_ne!(slice.head.epoch, old);
        assert_eq!((slice.entries.len(), slice.entries[0].offset), (1, 1));
    }
    on_redis.call::<()>("HMSET", &[&on_redis.keys.meta(&feed), "offset", "-7"]);
    let slice = on_redis.read(&feed, 0).await;
    assert_eq!((slice.head.offset, slice.first_offset, slice.entries.len()), (0, 1, 0));
}

/// As with the append of 10,000 dialogs in one call of an audit, of which most have no log yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_tell_where_many_logs_stand_and_begin_those_that_do_not() {
    let on_redis = OnRedis::shared().await;
    let feeds: Vec<_> = (0..500).map(|n| dialog(&format!("d{n}"))).collect();
    for _ in 0..2 {
        on_redis.bus.heads(&feeds).await.unwrap();
    }
    let appended = on_redis.append(&feeds[7], "a").await;
    let heads = on_redis.bus.heads(&feeds).await.unwrap();
    assert_eq!((heads.len(), heads[7].offset, heads[8].offset), (500, appended, 0));
    for (n, feed) in feeds.iter().enumerate().step_by(97) {
        assert_eq!(on_redis.read(feed, 0).await.head, heads[n]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_message_that_was_lost_is_in_the_log() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    on_redis.append(&feed, "a").await;
    on_redis.call::<String>("XADD", &[&on_redis.keys.log(&feed), "*", "o", "2", "e", "{}", "k", "b"]);
    on_redis.call::<u64>("HINCRBY", &[&on_redis.keys.meta(&feed), "offset", "1"]);
    on_redis.append(&feed, "c").await;
    let heard: Vec<_> = recorder.entries(2).await.iter().map(|entry| entry.offset).collect();
    assert_eq!(heard, [1, 3]);
    let logged: Vec<_> =
        on_redis.read(&feed, 1).await.entries.iter().map(|entry| entry.json.clone()).collect();
    assert_eq!(logged, [bytes::Bytes::from_static(b"{}"), json("c")]);
    assert!(!recorder.so_far().contains(&LivePayload::Interrupted));
}
