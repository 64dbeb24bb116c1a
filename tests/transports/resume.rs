//! Going on with a session: exactly what came after the cursor, in order, nothing twice.

use std::time::Duration;

use serde_json::json;

use crate::harness::attach::Attach;
use crate::harness::check;
use crate::harness::client::{Client, numbered};
use crate::harness::names::unique;
use crate::harness::server::Settings;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

on_every_transport! {
    a_resume_without_events_goes_on,
    a_resume_by_cursor_replays_exactly_what_came_after,
    a_resume_on_another_transport_is_the_same,
    a_resume_without_a_cursor_goes_on_from_what_was_acknowledged,
    an_ack_command_acknowledges_for_every_transport,
    a_cursor_ahead_of_the_session_is_invalid,
    what_is_no_cursor_is_refused,
    the_same_cursor_presented_twice_replays_the_same,
    more_than_a_queue_holds_is_not_lost,
    a_resume_after_the_window_is_rebuilt_and_loses_nothing,
    a_resume_after_the_death_of_the_node_is_rebuilt_and_loses_nothing,
}

/// Alice by the transport under test, bob by WebSocket, in a dialog of their own.
async fn pair(on: Transport, stage: &Stage) -> (Client, Client, String) {
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let client = alice.attach_to(on, &[&dialog]).await;
    let mut writer = bob.attach(Transport::Ws).await;
    // From here on nobody's first coming is in the log any more.
    writer.subscribe(&[&dialog]).await;
    (client, writer, dialog)
}

async fn a_resume_without_events_goes_on(on: Transport) {
    let (client, mut writer, dialog) = pair(on, &Stage::shared()).await;
    let place = client.cut();
    let again = place.attach(on).await;
    assert_eq!(again.resume(), "resumed");
    assert_eq!(again.session(), place.session);
    check::cursor(again.welcome());
    // And once more, from the cursor that the resumed welcome gave.
    let mut again = again.cut().attach(on).await;
    assert_eq!(again.resume(), "resumed");
    writer.say(&dialog, "first").await;
    again.next_message_is("first").await;
}

async fn a_resume_by_cursor_replays_exactly_what_came_after(on: Transport) {
    let (mut client, mut writer, dialog) = pair(on, &Stage::shared()).await;
    client.pin();
    writer.say_all(&dialog, &numbered("m", 10)).await;
    client.texts(4).await;
    let fourth = client.place();
    client.texts(6).await;
    drop(client);
    writer.say_all(&dialog, &numbered("away", 5)).await;

    let mut again = fourth.attach(on).await;
    assert_eq!(again.resume(), "resumed");
    writer.say(&dialog, "live").await;
    let mut expected = numbered("m", 10).split_off(4);
    expected.extend(numbered("away", 5));
    expected.push("live".into());
    assert_eq!(again.texts(expected.len()).await, expected);
}

async fn a_resume_on_another_transport_is_the_same(on: Transport) {
    for next in Transport::ALL {
        let (mut client, mut writer, dialog) = pair(on, &Stage::shared()).await;
        writer.say_all(&dialog, &numbered("m", 3)).await;
        client.texts(3).await;
        let place = client.cut();
        writer.say_all(&dialog, &numbered("away", 3)).await;
        let mut again = place.attach(next).await;
        assert_eq!((again.resume(), again.session()), ("resumed", place.session.as_str()), "by {next}");
        assert_eq!(again.texts(3).await, numbered("away", 3), "by {next}");
        writer.say(&dialog, "live").await;
        again.next_message_is("live").await;
    }
}

async fn a_resume_without_a_cursor_goes_on_from_what_was_acknowledged(on: Transport) {
    let (mut client, mut writer, dialog) = pair(on, &Stage::shared()).await;
    client.pin();
    writer.say_all(&dialog, &numbered("m", 5)).await;
    client.texts(2).await;
    let second = client.place();
    client.texts(3).await;
    drop(client);
    // An attach acknowledges.
    drop(second.attach(on.other()).await);

    let without = Attach::new().session(&second.session);
    let mut again = second.user.attach_with(on, without).await;
    assert_eq!(again.resume(), "resumed");
    assert_eq!(again.texts(3).await, numbered("m", 5)[2..]);
}

async fn an_ack_command_acknowledges_for_every_transport(on: Transport) {
    let (mut client, mut writer, dialog) = pair(on, &Stage::shared()).await;
    client.pin();
    writer.say_all(&dialog, &numbered("m", 5)).await;
    client.texts(3).await;
    let third = client.place();
    client.texts(2).await;
    client.ok(json!({ "type": "ack", "cursor": third.cursor })).await;
    drop(client);
    let without = Attach::new().session(&third.session);
    let mut again = third.user.attach_with(on, without).await;
    assert_eq!(again.texts(2).await, numbered("m", 5)[3..]);
}

async fn a_cursor_ahead_of_the_session_is_invalid(on: Transport) {
    let stage = Stage::shared();
    let (mut ahead, mut writer, dialog) = pair(Transport::Ws, &stage).await;
    let alice = ahead.user().clone();
    // A session that has sent nothing yet; the cursor is of one that has sent much.
    let mut fresh = alice.attach_to(on, &[&unique("d")]).await;
    writer.say_all(&dialog, &numbered("m", 20)).await;
    ahead.texts(20).await;
    let stolen = ahead.place().cursor;
    fresh.refused(json!({ "type": "ack", "cursor": stolen }), "cursor_invalid").await;
    match alice.try_attach(on, fresh.place().again().cursor(&stolen)).await {
        Err(ended) => ended.assert_refused("cursor_invalid"),
        Ok(client) => panic!("a cursor ahead of the session was taken: {client}"),
    }
    // The session is as good as before.
    let mut again = fresh.place().attach(on).await;
    again.ok(json!({ "type": "ping" })).await;
    again.subscribe(&[&dialog]).await;
    writer.say(&dialog, "after").await;
    again.next_message_is("after").await;
}

async fn what_is_no_cursor_is_refused(on: Transport) {
    let client = Stage::shared().user("alice").await.attach(on).await;
    let place = client.cut();
    for cursor in
        ["x", "not a cursor", "..", "1.2.3.4.5", "-1.-1.-1", "💥", &"9".repeat(49), &"z.".repeat(500)]
    {
        match place.user.try_attach(on, place.again().cursor(cursor)).await {
            Err(ended) => {
                let code = ended.code();
                assert!(["cursor_invalid", "bad_request"].contains(&code), "{cursor:?}: {ended:?}");
                ended.assert_refused(code);
            }
            Ok(client) => panic!("{cursor:?} was taken for a cursor: {client}"),
        }
    }
    assert_eq!(place.attach(on).await.resume(), "resumed");
}

async fn the_same_cursor_presented_twice_replays_the_same(on: Transport) {
    let (client, mut writer, dialog) = pair(on, &Stage::shared()).await;
    let place = client.cut();
    writer.say_all(&dialog, &numbered("m", 5)).await;
    for _ in 0..3 {
        let mut again = place.attach(on).await;
        again.pin();
        assert_eq!(again.texts(5).await, numbered("m", 5));
    }
}

async fn more_than_a_queue_holds_is_not_lost(on: Transport) {
    const SETTINGS: Settings = &[("EDGEWAY__SESSION__QUEUE_EVENTS", "16")];
    let (client, mut writer, dialog) = pair(on, &Stage::with(SETTINGS)).await;
    let place = client.cut();
    writer.say_all(&dialog, &numbered("m", 100)).await;
    let mut again = place.attach(on).await;
    assert_eq!(again.session(), place.session);
    assert_eq!(again.texts(100).await, numbered("m", 100));
    writer.say(&dialog, "live").await;
    again.next_message_is("live").await;
}

async fn a_resume_after_the_window_is_rebuilt_and_loses_nothing(on: Transport) {
    const SETTINGS: Settings = &[("EDGEWAY__SESSION__RESUME_WINDOW", "1s")];
    /// Longer and longer absences, until one was longer than the window.
    const ABSENCES_MS: [u64; 5] = [500, 1_000, 2_000, 4_000, 8_000];
    let (mut client, mut writer, dialog) = pair(on, &Stage::with(SETTINGS)).await;
    let first = writer.say(&dialog, "first").await;
    client.next_message_is("first").await;
    let mut place = client.cut();
    let mut told = Vec::new();
    for (round, absence_ms) in ABSENCES_MS.into_iter().enumerate() {
        let before = numbered(&format!("round {round} early"), 5);
        writer.say_all(&dialog, &before).await;
        // The time of absence is what is tested; nothing that could be asked would not also be an attach.
        tokio::time::sleep(Duration::from_millis(absence_ms)).await;
        let after = numbered(&format!("round {round} late"), 5);
        writer.say_all(&dialog, &after).await;

        let mut again = place.attach(on).await;
        assert_eq!(again.session(), place.session, "a session keeps its id for life");
        assert_eq!(again.texts(10).await, [before, after].concat(), "after {absence_ms} ms");
        let live = writer.say(&dialog, "live").await;
        assert!(live["seq"].as_u64() > first["seq"].as_u64());
        again.next_message_is("live").await;
        let resume = again.resume().to_owned();
        place = again.cut();
        if resume == "rebuilt" {
            // Cursors stay valid after a rebuild, also those from before it.
            writer.say(&dialog, "after the rebuild").await;
            place.attach(on).await.next_message_is("after the rebuild").await;
            return;
        }
        told.push((absence_ms, resume));
    }
    panic!("no absence was longer than a window of 300 ms: {told:?}");
}

async fn a_resume_after_the_death_of_the_node_is_rebuilt_and_loses_nothing(on: Transport) {
    // A server for each: nobody else should die.
    let stage = Stage::with(match on {
        Transport::Ws => &[("EDGEWAY__LIMITS__SUBSCRIPTIONS", "1001")],
        Transport::Sse => &[("EDGEWAY__LIMITS__SUBSCRIPTIONS", "1002")],
        Transport::Poll => &[("EDGEWAY__LIMITS__SUBSCRIPTIONS", "1003")],
    });
    let (mut client, mut writer, dialog) = pair(on, &stage).await;
    let node = client.welcome()["node"].clone();
    writer.say_all(&dialog, &numbered("before", 3)).await;
    assert_eq!(client.texts(1).await, numbered("before", 1));
    let second = client.next_message_is("before 2").await;
    let answer = stage.http().post(stage.url("/dev/kill")).send().await.expect("an answer");
    assert_eq!(answer.status(), 202);
    // No goodbye: what was open just ends.
    writer.ended().await;

    let mut writer = writer.cut().attach(Transport::Ws).await;
    assert_eq!(writer.resume(), "rebuilt");
    assert_ne!(writer.welcome()["node"], node, "another node");
    writer.say_all(&dialog, &numbered("after", 2)).await;
    let mut again = client.cut().attach(on).await;
    assert_eq!(again.resume(), "rebuilt");
    // The dead node had no time to write down what was delivered: some of it may come again, to be told by its offset.
    let told = again.events_until("after 2").await;
    let news = told.iter().filter(|event| event["offset"].as_u64() > second["offset"].as_u64());
    let texts: Vec<_> = news.filter_map(|event| event["message"]["body"]["text"].as_str()).collect();
    assert_eq!(texts, ["before 3", "after 1", "after 2"]);
}
