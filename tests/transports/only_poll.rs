//! What only long-poll can show: lost answers, aborted polls, framing.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::harness::attach::Attach;
use crate::harness::check;
use crate::harness::client::{Client, Place, numbered, text_of};
use crate::harness::names::unique;
use crate::harness::poll_line::{PollAnswer, poll, read_answer};
use crate::harness::raw::RawConnection;
use crate::harness::runner::within;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

once! {
    the_first_poll_answers_at_once_with_the_welcome,
    an_answer_has_a_length_and_is_not_chunked,
    an_idle_poll_answers_200_without_events,
    a_poll_that_waits_for_nothing_answers_at_once,
    a_wait_above_the_limit_is_clamped,
    a_poll_waits_for_the_first_event,
    an_answer_that_was_lost_is_given_again,
    only_the_next_polls_cursor_acknowledges,
    a_poll_aborted_before_its_events_consumes_nothing,
    a_poll_aborted_unread_consumes_nothing,
    of_two_polls_the_older_is_superseded,
    the_same_numbered_poll_replayed_is_stale,
    a_batch_ends_at_five_hundred_events,
    a_batch_ends_at_256_kib,
    a_poll_works_over_http2,
}

/// A session without a poll on its way, and someone who writes to it.
async fn idle_session() -> (Place, Client, String) {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = stage.closed_dialog(&[&alice, &bob]).await;
    let place = alice.attach_to(Transport::Poll, &[&dialog]).await.cut();
    let writer = bob.attach_to(Transport::Ws, &[&dialog]).await;
    (place, writer, dialog)
}

async fn ask(place: &Place, attach: &Attach, wait_ms: u64) -> PollAnswer {
    let answer = within("a poll's answer", poll(&place.user, attach, Some(wait_ms))).await;
    answer.unwrap_or_else(|ended| panic!("a poll with {attach:?} was refused: {ended:?}"))
}

fn texts(answer: &PollAnswer) -> Vec<&str> {
    answer.events.iter().filter(|e| e["type"] == "message_new").map(text_of).collect()
}

/// Polls with the same cursor until all of these are there: an answer may come when only some are.
async fn ask_for_all(place: &Place, expected: &[String]) -> PollAnswer {
    within("all the messages in one answer", async {
        loop {
            let answer = ask(place, &place.again(), 0).await;
            if texts(&answer).len() >= expected.len() {
                assert_eq!(texts(&answer), expected);
                return answer;
            }
        }
    })
    .await
}

async fn the_first_poll_answers_at_once_with_the_welcome() {
    let alice = Stage::shared().user("alice").await;
    let began = Instant::now();
    let answer = poll(&alice, &Attach::new(), None).await.unwrap_or_else(|ended| panic!("{ended:?}"));
    assert!(began.elapsed() < Duration::from_secs(10), "it does not wait for an event");
    assert_eq!(answer.events[0]["type"], "welcome", "{answer:?}");
    assert_eq!(answer.events[0]["session"], answer.session, "{answer:?}");
    assert_eq!(answer.resume, "new", "{answer:?}");
    assert!(!answer.more, "{answer:?}");
}

async fn an_answer_has_a_length_and_is_not_chunked() {
    let (place, mut writer, dialog) = idle_session().await;
    writer.say_all(&dialog, &numbered("m", 3)).await;
    let authorization = format!("Bearer {}", place.user.token());
    for wait_ms in ["0", "100"] {
        let path = place.again().path_and_query("/v1/poll", &[("wait_ms", wait_ms.into())]);
        let mut connection = RawConnection::open(place.user.stage()).await;
        connection.request(&format!("GET {path}"), &[("authorization", &authorization)]).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let length = answer.header("content-length").and_then(|n| n.parse::<usize>().ok());
        assert_eq!(length, Some(answer.body.len()), "{answer:?}");
        assert_eq!(answer.header("transfer-encoding"), None, "{answer:?}");
        assert!(answer.header("cache-control").is_some_and(|v| v.contains("no-store")), "{answer:?}");
        assert_eq!(read_answer(&answer.body).session, place.session);
        // The connection serves the next request.
        connection.request(&format!("GET {path}"), &[("authorization", &authorization)]).await;
        assert_eq!(connection.answer().await.status, 200);
    }
}

async fn an_idle_poll_answers_200_without_events() {
    let (place, _writer, _dialog) = idle_session().await;
    let place = Place { cursor: ask(&place, &place.again(), 0).await.cursor, ..place };
    let answer = ask(&place, &place.again(), 300).await;
    assert_eq!(answer.events, Vec::<serde_json::Value>::new());
    assert_eq!((answer.session.as_str(), answer.resume.as_str()), (place.session.as_str(), "resumed"));
    assert!(!answer.more, "{answer:?}");
}

async fn a_poll_that_waits_for_nothing_answers_at_once() {
    let (place, mut writer, dialog) = idle_session().await;
    let answer = ask(&place, &place.again(), 0).await;
    assert!(texts(&answer).is_empty(), "{answer:?}");
    writer.say(&dialog, "m 1").await;
    writer.next_message_is("m 1").await;
    ask_for_all(&place, &numbered("m", 1)).await;
}

async fn a_wait_above_the_limit_is_clamped() {
    let (place, mut writer, dialog) = idle_session().await;
    let place = Place { cursor: ask(&place, &place.again(), 0).await.cursor, ..place };
    let (attach, started) = (place.again(), place.user.clone());
    let polling = async { within("the answer", poll(&started, &attach, Some(1_000_000_000))).await };
    let saying = async {
        place.user.settle().await;
        writer.say(&dialog, "hello").await
    };
    let (answer, _) = tokio::join!(polling, saying);
    let answer = answer.unwrap_or_else(|ended| panic!("a long wait is no error: {ended:?}"));
    assert_eq!(texts(&answer), ["hello"]);
}

async fn a_poll_waits_for_the_first_event() {
    let (place, mut writer, dialog) = idle_session().await;
    let place = Place { cursor: ask(&place, &place.again(), 0).await.cursor, ..place };
    let attach = place.again();
    let polling = ask(&place, &attach, 9_000);
    let saying = async {
        place.user.settle().await;
        writer.say(&dialog, "hello").await
    };
    let (answer, _) = tokio::join!(polling, saying);
    assert_eq!(texts(&answer), ["hello"], "it waited for the event and was answered by it");
}

async fn an_answer_that_was_lost_is_given_again() {
    let (place, mut writer, dialog) = idle_session().await;
    let expected = numbered("m", 5);
    writer.say_all(&dialog, &expected).await;
    let first = ask_for_all(&place, &expected).await;
    let again = ask(&place, &place.again(), 0).await;
    assert_eq!(again.events, first.events, "the same cursor asked twice gives the same events");
    assert_eq!(again.resume, "resumed");

    writer.say(&dialog, "m 6").await;
    writer.events_until("m 6").await;
    ask_for_all(&place, &numbered("m", 6)).await;
}

async fn only_the_next_polls_cursor_acknowledges() {
    let (place, mut writer, dialog) = idle_session().await;
    let expected = numbered("m", 5);
    writer.say_all(&dialog, &expected).await;
    let answer = ask_for_all(&place, &expected).await;
    // Without a cursor: from what was acknowledged, and that is where the first poll stood.
    let without = Attach::new().session(&place.session);
    assert_eq!(texts(&ask(&place, &without, 0).await), expected);
    // With an event's cursor in the middle of the batch.
    let messages: Vec<_> = answer.events.iter().filter(|e| e["type"] == "message_new").collect();
    let third = place.again().cursor(check::cursor(messages[2]));
    assert_eq!(texts(&ask(&place, &third, 0).await), expected[3..]);
    assert_eq!(texts(&ask(&place, &without, 0).await), expected[3..]);
    // With the batch's own cursor.
    let all = place.again().cursor(&answer.cursor);
    assert!(texts(&ask(&place, &all, 0).await).is_empty());
    assert!(texts(&ask(&place, &without, 0).await).is_empty());
}

/// Sends a poll on a connection of its own.
async fn raw_poll(place: &Place, wait_ms: u64) -> RawConnection {
    let path = place.again().path_and_query("/v1/poll", &[("wait_ms", wait_ms.to_string())]);
    let mut connection = RawConnection::open(place.user.stage()).await;
    let authorization = format!("Bearer {}", place.user.token());
    connection.request(&format!("GET {path}"), &[("authorization", &authorization)]).await;
    connection
}

async fn a_poll_aborted_before_its_events_consumes_nothing() {
    let (mut place, mut writer, dialog) = idle_session().await;
    place.cursor = ask(&place, &place.again(), 0).await.cursor;
    for (round, by_reset) in [(1, true), (2, false)] {
        let held = raw_poll(&place, 20_000).await;
        place.user.settle().await;
        if by_reset {
            held.reset();
        } else {
            drop(held);
        }
        let expected = numbered(&format!("round {round}"), 3);
        writer.say_all(&dialog, &expected).await;
        place.cursor = ask_for_all(&place, &expected).await.cursor;
    }
}

async fn a_poll_aborted_unread_consumes_nothing() {
    let (place, mut writer, dialog) = idle_session().await;
    let expected = numbered("m", 5);
    writer.say_all(&dialog, &expected).await;
    ask_for_all(&place, &expected).await;
    for _ in 0..3 {
        // The whole answer is on its way when the connection is reset.
        let unread = raw_poll(&place, 20_000).await;
        unread.wait_readable().await;
        unread.reset();
        ask_for_all(&place, &expected).await;
    }
    for _ in 0..3 {
        // Or perhaps not even the request was read.
        raw_poll(&place, 20_000).await.reset();
        // It may arrive after the next one, and then it is the newest.
        place.user.settle().await;
        ask_for_all(&place, &expected).await;
    }
}

async fn of_two_polls_the_older_is_superseded() {
    let (place, mut writer, dialog) = idle_session().await;
    let place = Place { cursor: ask(&place, &place.again(), 0).await.cursor, ..place };
    let mut older = raw_poll(&place, 20_000).await;
    place.user.settle().await;
    let mut newer = raw_poll(&place, 20_000).await;
    let answer = older.answer().await;
    assert_eq!(answer.status, 409, "{answer:?}");
    check::error(&answer.json(), "superseded");
    writer.say(&dialog, "for the newer").await;
    let answer = newer.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(texts(&read_answer(&answer.body)), ["for the newer"]);
}

async fn the_same_numbered_poll_replayed_is_stale() {
    let (place, mut writer, dialog) = idle_session().await;
    let numbered_poll = |number| place.again().number(number);
    ask(&place, &numbered_poll(7), 0).await;
    for stale in [7, 6, 0] {
        match poll(&place.user, &numbered_poll(stale), Some(0)).await {
            Err(ended) => ended.assert_refused("stale_attach"),
            Ok(answer) => panic!("attach={stale} after attach=7 should be stale: {answer:?}"),
        }
    }
    writer.say(&dialog, "hello").await;
    let answer = ask(&place, &numbered_poll(8), 9_000).await;
    assert_eq!(texts(&answer), ["hello"]);
}

async fn a_batch_ends_at_five_hundred_events() {
    drain_in_batches(&numbered("m", 700)).await;
}

async fn a_batch_ends_at_256_kib() {
    let texts: Vec<String> = (1..=120).map(|n| format!("{n} {}", "x".repeat(4_000))).collect();
    drain_in_batches(&texts).await;
}

async fn drain_in_batches(expected: &[String]) {
    const EVENTS: usize = 500;
    /// A batch ends with the event that reaches the bound; the envelope stands around it.
    const BYTES: usize = 256 * 1024 + 8 * 1024;
    let (mut place, mut writer, dialog) = idle_session().await;
    writer.say_all(&dialog, expected).await;
    writer.events_until(expected.last().expect("there are some")).await;
    let mut found: Vec<String> = Vec::new();
    let mut more = 0;
    while found.len() < expected.len() {
        let answer = ask(&place, &place.again(), 9_000).await;
        assert!(answer.events.len() <= EVENTS, "{} events", answer.events.len());
        assert!(answer.bytes <= BYTES, "{} bytes", answer.bytes);
        assert!(!answer.events.is_empty(), "the rest must come: {} of {}", found.len(), expected.len());
        more += usize::from(answer.more);
        found.extend(texts(&answer).into_iter().map(String::from));
        place.cursor = answer.cursor;
    }
    assert_eq!(found, expected);
    assert!(more >= 1, "a batch that leaves something says `more`");
    let answer = ask(&place, &place.again(), 0).await;
    assert!(answer.events.is_empty() && !answer.more, "{answer:?}");
}

async fn a_poll_works_over_http2() {
    let stage = Stage::shared().over_http2();
    let alice = stage.user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(Transport::Poll, &[&dialog]).await;
    client.ok(json!({ "type": "ping" })).await;
    client.say_all(&dialog, &numbered("m", 5)).await;
    assert_eq!(client.texts(5).await, numbered("m", 5));
}
