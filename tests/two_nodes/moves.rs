//! Sessions that move from one node to the other.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::client::{numbered, send};
use crate::harness::names::unique;
use crate::harness::nodes::Nodes;
use crate::harness::runner::eventually;
use crate::harness::seen::Seen;
use crate::harness::transport::Transport;

tests! {
    a_session_that_is_read_at_one_node_and_the_other_loses_nothing_and_repeats_nothing,
    a_session_survives_the_sudden_death_of_its_node,
    a_node_that_is_asked_to_stop_sends_its_sessions_to_the_other,
    a_copy_that_was_left_behind_ends_and_takes_nothing_with_it,
    a_session_that_was_deleted_at_one_node_is_gone_at_the_other,
    a_command_that_comes_along_with_an_attach_takes_nobodys_place,
}

async fn a_session_that_is_read_at_one_node_and_the_other_loses_nothing_and_repeats_nothing() {
    const EACH: usize = 40;
    let nodes = Nodes::start().await;
    let mut writer = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let mut heard = Vec::new();
    let texts = numbered("m", 6 * EACH);
    for (round, some) in texts.chunks(EACH).enumerate() {
        writer.say_all("tea", some).await;
        // Cut with half of them unread, and in flight.
        heard.extend(reader.texts(round * EACH + EACH / 2 - heard.len()).await);
        let place = reader.cut();
        let to = if round % 2 == 0 { &nodes.b } else { &nodes.a };
        let user = to.user(&place.user);
        let on = Transport::ALL[round % Transport::ALL.len()];
        reader = user.attach_with(on, place.again()).await;
        // A WebSocket takes the session along; others are served from where it is.
        let expected = if on == Transport::Ws { "rebuilt" } else { "resumed" };
        assert_eq!(reader.resume(), expected, "{reader}");
        heard.extend(reader.texts((round + 1) * EACH - heard.len()).await);
    }
    assert_eq!(heard, texts);
}

async fn a_session_survives_the_sudden_death_of_its_node() {
    const COUNT: usize = 300;
    let nodes = Nodes::start().await;
    let mut writer = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let texts = numbered("m", COUNT);
    let mut seen = Seen::default();
    let sending = async {
        for some in texts.chunks(5) {
            writer.say_all("tea", some).await;
        }
    };
    let receiving = async {
        seen.listen(&mut reader, COUNT / 3).await;
        nodes.a.server().program().kill();
        let place = nodes.at_b(reader.place());
        let mut reader = place.attach(Transport::Ws).await;
        assert_eq!(reader.resume(), "rebuilt", "{reader}");
        seen.listen(&mut reader, COUNT).await;
    };
    tokio::join!(sending, receiving);
    assert_eq!(seen.texts, texts);
}

async fn a_node_that_is_asked_to_stop_sends_its_sessions_to_the_other() {
    let nodes = Nodes::start().await;
    let mut writer = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    writer.say_all("tea", &numbered("before", 10)).await;
    reader.texts(10).await;
    let place = nodes.at_b(reader.place());
    nodes.a.server().program().terminate();
    let ended = reader.ended().await;
    assert_eq!((ended.goaway_reason(), ended.close), ("draining", Some(4200)), "{ended:?}");
    let exit = eventually("the node to end", || async { nodes.a.server().program().ended() }).await;
    assert!(exit.success(), "{exit}");
    writer.say("tea", "after").await;
    let mut reader = place.attach(Transport::Sse).await;
    assert_eq!(reader.resume(), "rebuilt", "{reader}");
    // Its record was written when it left: what was delivered is known exactly.
    reader.next_message_is("after").await;
}

async fn a_copy_that_was_left_behind_ends_and_takes_nothing_with_it() {
    let nodes = Nodes::with(&[("EDGEWAY__SESSION__PRESENCE_GRACE", "1s")]).await;
    let with_presence = json!({ "type": "subscribe", "dialogs": ["tea"], "presence": true });
    let mut watcher = nodes.user_at_b("carol").attach(Transport::Ws).await;
    watcher.ok(with_presence.clone()).await;
    let mut reader = nodes.user("alice").attach(Transport::Ws).await;
    reader.ok(with_presence).await;
    watcher.event_of("presence").await;
    // The older line is still open: a client that lost its network does not close it.
    let mut moved = nodes.at_b(reader.place()).attach(Transport::Ws).await;
    assert_eq!(moved.resume(), "rebuilt", "{moved}");
    let ended = reader.ended().await;
    assert_eq!((ended.goaway_reason(), ended.close), ("superseded", Some(4009)), "{ended:?}");
    eventually("the copy to be gone", || async {
        let (_, census) = nodes.a.admin("/debug/sessions").await;
        let census: Value = serde_json::from_str(&census).unwrap();
        (census["attached"]["ws"] == 0 && census["detached"] == 0).then_some(())
    })
    .await;
    // Neither the record nor the presence went with it.
    watcher.say("tea", "still here?").await;
    watcher.nothing_of("presence", "still here?").await;
    moved.next_message_is("still here?").await;
    let again = moved.cut().attach(Transport::Poll).await;
    assert_eq!(again.resume(), "resumed", "{again}");
}

async fn a_session_that_was_deleted_at_one_node_is_gone_at_the_other() {
    let nodes = Nodes::start().await;
    let reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let place = reader.place();
    let answer = place.user.delete(&place.session).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
    let elsewhere = nodes.at_b(place);
    let refused = elsewhere.user.try_attach(Transport::Poll, elsewhere.again()).await.unwrap_err();
    refused.assert_refused("session_gone");
}

/// Whichever of the two comes first where a session must be rebuilt: the command finds it there and leaves its reader alone.
async fn a_command_that_comes_along_with_an_attach_takes_nobodys_place() {
    const SESSIONS: usize = 24;
    let nodes = Nodes::start().await;
    let mut places = Vec::new();
    for n in 0..SESSIONS {
        let user = nodes.user("alice");
        let dialog = format!("tea-{n}");
        places.push((nodes.at_b(user.attach_to(Transport::Ws, &[&dialog]).await.cut()), dialog));
    }
    nodes.a.server().program().kill();
    let coming = places.into_iter().map(|(place, dialog)| async move {
        let command = send(&dialog, &unique("c"), "here I am");
        let (mut reader, answer) =
            tokio::join!(place.attach(Transport::Sse), place.user.post(&place.session, &command));
        assert_eq!(answer.replies()[0]["type"], "ok", "{answer:?}");
        reader.next_message_is("here I am").await;
        // Had its place been taken, it would have been told so by then.
        place.user.post(&place.session, &send(&dialog, &unique("c"), "and I stay")).await;
        reader.next_message_is("and I stay").await;
    });
    join_all(coming).await;
}
