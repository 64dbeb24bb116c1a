//! What only SSE can show: its carriage, the native `EventSource`, heartbeats.

use serde_json::json;

use crate::harness::attach::Attach;
use crate::harness::client::{Client, numbered};
use crate::harness::line::Line;
use crate::harness::names::unique;
use crate::harness::server::Settings;
use crate::harness::sse_line::SseLine;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

once! {
    the_stream_opens_with_padding_retry_and_a_welcome_that_has_an_id,
    an_event_source_that_reconnects_to_its_url_goes_on,
    a_session_that_saw_no_event_goes_on_by_its_welcomes_id,
    last_event_id_beats_the_query,
    last_event_id_of_another_user_gives_a_new_session,
    a_malformed_last_event_id_is_not_followed,
    retry_is_jittered,
    heartbeats_come_without_an_id,
    a_stream_rotates_and_the_session_goes_on,
    a_stream_works_over_http2,
}

fn sse(client: &mut Client) -> &mut SseLine {
    match client.line() {
        Line::Sse(line) => line,
        other => panic!("not an SSE line: {other:?}"),
    }
}

/// What a browser would send as `Last-Event-ID`.
fn last_event_id(client: &mut Client) -> String {
    sse(client).last_event_id().to_owned()
}

async fn the_stream_opens_with_padding_retry_and_a_welcome_that_has_an_id() {
    // Head, padding, `retry` before the first event, and the absence of `event:` are checked by every SSE client here.
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(Transport::Sse, &[&dialog]).await;
    let place = client.place();
    assert_eq!(last_event_id(&mut client), format!("{}~{}", place.session, place.cursor));
    client.say(&dialog, "hello").await;
    client.next_message_is("hello").await;
    let place = client.place();
    assert_eq!(last_event_id(&mut client), format!("{}~{}", place.session, place.cursor));
}

async fn an_event_source_that_reconnects_to_its_url_goes_on() {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut writer = bob.attach_to(Transport::Ws, &[&dialog]).await;
    // The URL is the same for ever; only the header changes.
    let url = Attach::new().dialogs(&[&dialog]);
    let mut client = alice.attach_with(Transport::Sse, url.clone()).await;
    let session = client.session().to_owned();
    for round in 1..=5 {
        let (heard, missed) = (format!("heard {round}"), numbered(&format!("missed {round}"), 3));
        writer.say(&dialog, &heard).await;
        client.next_message_is(&heard).await;
        let id = last_event_id(&mut client);
        drop(client);
        writer.say_all(&dialog, &missed).await;
        client = alice.attach_with(Transport::Sse, url.clone().last_event_id(&id)).await;
        assert_eq!((client.resume(), client.session()), ("resumed", session.as_str()), "round {round}");
        assert_eq!(client.texts(3).await, missed);
    }
}

async fn a_session_that_saw_no_event_goes_on_by_its_welcomes_id() {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut client = alice.attach_to(Transport::Sse, &[&dialog]).await;
    let (id, session) = (last_event_id(&mut client), client.session().to_owned());
    drop(client);
    bob.attach(Transport::Ws).await.say(&dialog, "missed").await;
    let mut client = alice.attach_with(Transport::Sse, Attach::new().last_event_id(&id)).await;
    assert_eq!((client.resume(), client.session()), ("resumed", session.as_str()));
    client.next_message_is("missed").await;
}

async fn last_event_id_beats_the_query() {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(Transport::Sse, &[&dialog]).await;
    let other = alice.attach(Transport::Sse).await.cut();
    client.say_all(&dialog, &numbered("m", 4)).await;
    let early = client.place();
    client.texts(2).await;
    let id = last_event_id(&mut client);
    drop(client);

    // An older cursor of the same session in the query.
    let mut again = alice.attach_with(Transport::Sse, early.again().last_event_id(&id)).await;
    assert_eq!(again.resume(), "resumed");
    assert_eq!(again.texts(2).await, numbered("m", 4)[2..]);
    drop(again);
    // Another session altogether in the query.
    let again = alice.attach_with(Transport::Sse, other.again().last_event_id(&id)).await;
    assert_eq!(again.session(), early.session);
}

async fn last_event_id_of_another_user_gives_a_new_session() {
    let stage = Stage::shared();
    let (alice, mallory) = (stage.user("alice").await, stage.user("mallory").await);
    let mut client = alice.attach(Transport::Sse).await;
    let id = last_event_id(&mut client);
    let theft = mallory.attach_with(Transport::Sse, Attach::new().last_event_id(&id)).await;
    assert_eq!(theft.resume(), "expired");
    assert_ne!(theft.session(), client.session());
    client.ok(json!({ "type": "ping" })).await;
}

async fn a_malformed_last_event_id_is_not_followed() {
    let alice = Stage::shared().user("alice").await;
    for id in ["garbage", "~", "a~", "~b", "a~b~c", &"x".repeat(4_096)] {
        // It is a client's own header: refused as a cursor is, or as if the session did not exist.
        match alice.try_attach(Transport::Sse, Attach::new().last_event_id(id)).await {
            Ok(client) => {
                assert!(["new", "expired"].contains(&client.resume()), "{id:?}: {}", client.welcome());
                let session = client.cut().session;
                alice.delete(&session).await;
            }
            Err(ended) => {
                let code = ended.code();
                assert!(["bad_request", "cursor_invalid"].contains(&code), "{id:?}: {ended:?}");
                ended.assert_refused(code);
            }
        }
    }
}

async fn retry_is_jittered() {
    const STREAMS: usize = 8;
    let alice = Stage::shared().user("alice").await;
    let mut found = Vec::new();
    for _ in 0..STREAMS {
        let mut client = alice.attach(Transport::Sse).await;
        found.push(sse(&mut client).retry());
    }
    assert!(found.iter().any(|retry| *retry != found[0]), "eight streams, one and the same retry: {found:?}");
}

async fn heartbeats_come_without_an_id() {
    const SETTINGS: Settings = &[("EDGEWAY__TRANSPORTS__SSE__HEARTBEAT", "100ms")];
    let alice = Stage::with(SETTINGS).user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(Transport::Sse, &[&dialog]).await;
    let id = last_event_id(&mut client);
    // That a heartbeat has no id is checked where it is read.
    client.heartbeats(3).await;
    assert_eq!(last_event_id(&mut client), id, "a heartbeat doesn't move the position");
    client.say(&dialog, "between heartbeats").await;
    client.next_message_is("between heartbeats").await;
}

async fn a_stream_rotates_and_the_session_goes_on() {
    const SETTINGS: Settings = &[("EDGEWAY__TRANSPORTS__SSE__ROTATE", "1s")];
    let stage = Stage::with(SETTINGS);
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut client = alice.attach_to(Transport::Sse, &[&dialog]).await;
    let session = client.session().to_owned();
    let ended = client.ended().await;
    assert!(ended.note.contains("the stream ended"), "it ends well: {ended:?}\n{client}");
    assert!(["", "rotating"].contains(&ended.goaway_reason()), "{ended:?}\n{client}");
    let id = last_event_id(&mut client);
    bob.attach(Transport::Ws).await.say(&dialog, "between two streams").await;
    let mut again = alice.attach_with(Transport::Sse, Attach::new().last_event_id(&id)).await;
    assert_eq!((again.resume(), again.session()), ("resumed", session.as_str()));
    again.next_message_is("between two streams").await;
}

async fn a_stream_works_over_http2() {
    let stage = Stage::shared().over_http2();
    let alice = stage.user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(Transport::Sse, &[&dialog]).await;
    client.say_all(&dialog, &numbered("m", 5)).await;
    assert_eq!(client.texts(5).await, numbered("m", 5));
    let mut again = client.cut().attach(Transport::Sse).await;
    assert_eq!(again.resume(), "resumed");
    again.say(&dialog, "again").await;
    again.next_message_is("again").await;
}
