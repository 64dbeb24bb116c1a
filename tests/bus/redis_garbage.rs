//! What nobody should have written, on channels and in logs.

use edgeway::application::ports::bus::{EVENT_MAX_BYTES, EventBus, LivePayload, ReadFrom};
use edgeway::application::ports::codec::Undecodable;
use edgeway::domain::time::UnixMillis;

use super::on_redis::{OnRedis, dialog, json, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_a_channel_is_told_as_garbage_and_what_follows_is_heard() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    let (recorder, _subscription) = on_redis.listen(&feed).await;
    let live = on_redis.keys.live(&feed);
    let huge = format!("e 1 1-0\n{}", "x".repeat(2 << 20));
    let line = "x".repeat(2 << 20);
    for message in ["", "{}", "e one 1-0\n{}", "e 1 1-0 more\n{}", &huge, &line] {
        on_redis.call::<u64>("SPUBLISH", &[&live, message]);
    }
    on_redis.append(&feed, "a").await;
    let heard = recorder.at_least(7).await;
    let garbage = |why| LivePayload::Garbage(why);
    assert_eq!(heard[..4], [const { LivePayload::Garbage(Undecodable::WrongHeader) }; 4]);
    assert_eq!(heard[4..6], [garbage(Undecodable::TooLarge), garbage(Undecodable::WrongHeader)]);
    assert!(matches!(&heard[6], LivePayload::Logged(entry) if entry.json == json("a")), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_a_log_is_passed_over() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    let log = on_redis.keys.log(&feed);
    let litter = || {
        for fields in [
            &["x", "y"][..],
            &["e", "{}"],
            &["o", "", "e", "{}"],
            &["o", "one", "e", "{}"],
            &["o", "-1", "e", "{}"],
            &["o", "0", "e", "{}"],
            &["o", "1e0", "e", "{}"],
            &["o", "1", "e", "{}"],
            &["o", "999", "e", "{}"],
            &["o", "99999999999999999999999", "e", "{}"],
        ] {
            on_redis.call::<String>("XADD", &[&[&*log, "*"], fields].concat());
        }
    };
    let mut keys = Vec::new();
    for n in 1..=40 {
        if n % 3 == 0 {
            litter();
        }
        keys.push(json(&n.to_string()));
        assert_eq!(on_redis.append(&feed, &n.to_string()).await, n);
    }
    litter();
    for after in 0..40 {
        let slice = on_redis.read(&feed, after).await;
        let read: Vec<_> = slice.entries.iter().map(|entry| entry.json.clone()).collect();
        assert_eq!(read, keys[after as usize..], "after {after}");
        assert_eq!((slice.head.offset, slice.first_offset), (40, 1));
    }
    let slice = on_redis.bus.read(&feed, ReadFrom::Newest, 3).await.unwrap();
    assert_eq!(slice.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [38, 39, 40]);
    let slice = on_redis.bus.read(&feed, ReadFrom::Since(UnixMillis(0)), 5).await.unwrap();
    assert_eq!(slice.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(on_redis.append(&feed, "40").await, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_without_an_event_keeps_its_offset() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    on_redis.append(&feed, "a").await;
    on_redis.call::<String>("XADD", &[&on_redis.keys.log(&feed), "*", "o", "2"]);
    on_redis.call::<u64>("HINCRBY", &[&on_redis.keys.meta(&feed), "offset", "1"]);
    on_redis.append(&feed, "c").await;
    let read: Vec<_> = on_redis.read(&feed, 0).await.entries.into_iter().map(|entry| entry.json).collect();
    assert_eq!(read, [json("a"), bytes::Bytes::new(), json("c")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_two_mebibytes_comes_cut_off_above_what_an_event_may_have() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    on_redis.append(&feed, "a").await;
    let huge = "x".repeat(2 << 20);
    on_redis.call::<String>("XADD", &[&on_redis.keys.log(&feed), "*", "o", "2", "e", &huge, "k", "b"]);
    on_redis.call::<u64>("HINCRBY", &[&on_redis.keys.meta(&feed), "offset", "1"]);
    on_redis.append(&feed, "c").await;
    let read: Vec<_> = on_redis.read(&feed, 0).await.entries.iter().map(|entry| entry.json.len()).collect();
    assert_eq!(read, [json("a").len(), EVENT_MAX_BYTES + 1, json("c").len()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_a_log_ends_a_piece_and_shows_as_a_later_beginning() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    let log = on_redis.keys.log(&feed);
    for n in 1..=200 {
        on_redis.append(&feed, &n.to_string()).await;
    }
    let ids: Vec<(String, Vec<String>)> = on_redis.call("XRANGE", &[&log, "-", "+"]);
    on_redis.call::<u64>("XDEL", &[&log, &ids[49].0, &ids[50].0]);
    let slice = on_redis.read(&feed, 0).await;
    assert_eq!((slice.first_offset, slice.entries.len()), (1, 49));
    for after in [49, 50] {
        let slice = on_redis.read(&feed, after).await;
        assert_eq!((slice.head.offset, slice.first_offset, slice.entries.len()), (200, 52, 0));
    }
    let slice = on_redis.read(&feed, 51).await;
    assert_eq!((slice.first_offset, slice.entries.len()), (1, 149));
    on_redis.call::<u64>("XDEL", &[&log, &ids[199].0]);
    let slice = on_redis.read(&feed, 199).await;
    assert_eq!((slice.head.offset, slice.first_offset, slice.entries.len()), (200, 201, 0));
}

/// Command by command, without a transaction: it counts, and is then about to add.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_has_counted_and_not_yet_added_is_waited_for() {
    let on_redis = OnRedis::alone().await;
    let feed = dialog("d");
    let (log, meta) = (on_redis.keys.log(&feed), on_redis.keys.meta(&feed));
    on_redis.append(&feed, "a").await;
    on_redis.call::<u64>("HINCRBY", &[&meta, "offset", "1"]);
    let scripts_run = || {
        let stats: String = on_redis.call("INFO", &["commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0_u64)
    };
    let before = scripts_run();
    let (slice, ()) = tokio::join!(on_redis.read(&feed, 1), async {
        until("it has been read in vain", || scripts_run() > before).await;
        on_redis.call::<String>("XADD", &[&log, "*", "o", "2", "e", "{}", "k", "b"]);
    });
    assert_eq!((slice.head.offset, slice.entries.len()), (2, 1), "{slice:?}");
    // A log that is gone has lost what it counted.
    on_redis.call::<u64>("DEL", &[&log]);
    let slice = on_redis.read(&feed, 1).await;
    assert_eq!((slice.head.offset, slice.first_offset, slice.entries.len()), (2, 3, 0), "{slice:?}");
}

/// As many as there is room for, and at least one: nobody reads 256 MiB at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_of_a_log_is_bounded_in_bytes() {
    let on_redis = OnRedis::shared().await;
    let feed = dialog("d");
    let large = " ".repeat(EVENT_MAX_BYTES);
    for n in 0..40 {
        let _: (String, u64, String) = on_redis.publish_by_hand(&feed, &large, &n.to_string()).unwrap();
    }
    let (mut pieces, mut after) = (0, 0);
    while after < 40 {
        let slice = on_redis.read(&feed, after).await;
        assert_eq!(slice.entries[0].offset, after + 1);
        after += slice.entries.len() as u64;
        pieces += 1;
    }
    assert_eq!(pieces, 3);
}
