//! Requests that land on another node than the one that holds their session.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::attach::{Attach, Credentials};
use crate::harness::client::{numbered, send, text_of};
use crate::harness::nodes::Nodes;
use crate::harness::poll_line::poll;
use crate::harness::runner::{eventually, within};
use crate::harness::transport::Transport;

tests! {
    polls_of_one_session_over_two_nodes_in_turn_lose_and_repeat_nothing,
    a_poll_that_was_given_up_at_another_node_has_consumed_nothing,
    a_stream_comes_from_the_sessions_node_as_it_is_written,
    commands_reach_the_sessions_node_and_are_answered,
    a_session_is_ended_at_another_node_than_its_own,
    a_ticket_is_good_at_another_node_than_the_sessions_own,
    refusals_of_the_sessions_node_come_back_as_they_are,
    who_says_to_be_a_node_gets_nothing_for_it,
    a_websocket_takes_the_session_along_exactly_and_its_old_reader_is_told,
    what_was_held_by_a_node_that_was_killed_is_rebuilt_for_every_kind_of_request,
    a_node_that_hangs_is_waited_for_and_then_done_without,
    a_node_that_could_not_hear_of_a_move_finds_out_when_its_link_is_back,
}

async fn polls_of_one_session_over_two_nodes_in_turn_lose_and_repeat_nothing() {
    const POLLS: usize = 10;
    let nodes = Nodes::start().await;
    let mut writer = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    let alice = nodes.user("alice");
    let first = poll(&alice, &Attach::new().dialogs(&["tea"]), None).await.unwrap();
    let (mut cursor, mut heard) = (first.cursor, Vec::new());
    let texts = numbered("m", POLLS * 3);
    for (round, some) in texts.chunks(3).enumerate() {
        let user = if round % 2 == 0 { nodes.b.user(&alice) } else { alice.clone() };
        writer.say_all("tea", some).await;
        while heard.len() < (round + 1) * 3 {
            let attach = Attach::new().session(&first.session).cursor(&cursor);
            let answer = within("a poll", poll(&user, &attach, Some(5000))).await.unwrap();
            assert_eq!((&answer.session, &*answer.resume), (&first.session, "resumed"));
            heard.extend(answer.events.iter().map(|event| text_of(event).to_owned()));
            cursor = answer.cursor;
        }
    }
    assert_eq!(heard, texts);
}

async fn a_poll_that_was_given_up_at_another_node_has_consumed_nothing() {
    let nodes = Nodes::start().await;
    let mut writer = nodes.user("bob").attach_to(Transport::Ws, &["tea"]).await;
    let alice = nodes.user("alice");
    let first = poll(&alice, &Attach::new().dialogs(&["tea"]), None).await.unwrap();
    let attach = Attach::new().session(&first.session).cursor(&first.cursor);
    let there = nodes.b.user(&alice);
    for round in 0..3 {
        let held = poll(&there, &attach, Some(20_000));
        let given_up = tokio::time::timeout(Duration::from_millis(200), held).await;
        assert!(given_up.is_err() || round > 0, "nothing has been said yet");
        // The session's node has noticed: nobody reads there.
        eventually("the session to be read by nobody", || async {
            let (_, census) = nodes.a.admin("/debug/sessions").await;
            let polls = serde_json::from_str::<serde_json::Value>(&census).unwrap();
            (polls["poll"] == 0 || polls["attached"]["poll"] == 0).then_some(())
        })
        .await;
        writer.say("tea", &format!("m {round}")).await;
    }
    let answer = poll(&there, &attach, Some(5000)).await.unwrap();
    let texts: Vec<&str> = answer.events.iter().map(text_of).collect();
    assert_eq!((&*answer.resume, texts), ("resumed", vec!["m 0", "m 1", "m 2"]));
}

async fn a_stream_comes_from_the_sessions_node_as_it_is_written() {
    let nodes = Nodes::start().await;
    let mut writer = nodes.user("bob").attach_to(Transport::Ws, &["tea"]).await;
    let reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let node = reader.welcome()["node"].clone();
    let place = nodes.at_b(reader.cut());
    let mut stream = place.attach(Transport::Sse).await;
    assert_eq!(stream.resume(), "resumed", "{stream}");
    assert_eq!(stream.welcome()["node"], node, "it is served where the session is");
    for text in numbered("m", 20) {
        writer.say("tea", &text).await;
        // One after the other: nothing waits for more to come.
        stream.next_message_is(&text).await;
    }
    // A native EventSource comes back by its header alone.
    let by_header = Attach::new().last_event_id(&format!("{}~{}", place.session, stream.place().cursor));
    drop(stream);
    let mut again = place.user.attach_with(Transport::Sse, by_header).await;
    assert_eq!((again.resume(), again.session()), ("resumed", &*place.session), "{again}");
    writer.say("tea", "once more").await;
    again.next_message_is("once more").await;
}

async fn commands_reach_the_sessions_node_and_are_answered() {
    let nodes = Nodes::start().await;
    let mut reader = nodes.user("alice").attach(Transport::Sse).await;
    let there = nodes.b.user(reader.user());
    let batch = json!([
        { "type": "subscribe", "ref": "1", "dialogs": ["tea"] },
        { "ref": "2", "type": "send_message", "dialog_id": "tea", "client_message_id": "c1",
          "body": { "text": "over there" } },
        { "type": "nonsense", "ref": "3" },
    ]);
    let answer = there.post(reader.session(), &batch).await;
    let replies = answer.replies();
    assert_eq!((&replies[0]["type"], &replies[1]["type"]), (&"ok".into(), &"ok".into()), "{replies:?}");
    assert_eq!(replies[2]["code"], "unknown_type", "{replies:?}");
    reader.next_message_is("over there").await;
    let too_large = there.post_text(reader.session(), " ".repeat(65 * 1024)).await;
    too_large.assert_refused("too_large");
}

async fn a_session_is_ended_at_another_node_than_its_own() {
    let nodes = Nodes::start().await;
    let mut reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let there = nodes.b.user(reader.user());
    let answer = there.delete(reader.session()).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
    assert_eq!(reader.ended().await.close, Some(4010), "as it would be by its own node");
    there.delete(reader.session()).await.assert_refused("session_gone");
    nodes.user("mallory").delete(reader.session()).await.assert_refused("session_gone");
}

async fn a_ticket_is_good_at_another_node_than_the_sessions_own() {
    let nodes = Nodes::start().await;
    let mut writer = nodes.user("bob").attach_to(Transport::Ws, &["tea"]).await;
    let place = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await.cut();
    let ticket = place.user.ticket().await;
    let there = nodes.b.user(&place.user);
    let by_ticket = place.again().credentials(Credentials::Ticket(ticket));
    let mut stream = there.attach_with(Transport::Sse, by_ticket.clone()).await;
    assert_eq!(stream.resume(), "resumed", "{stream}");
    writer.say("tea", "by ticket").await;
    stream.next_message_is("by ticket").await;
    for node in [&there, &place.user] {
        node.try_attach(Transport::Poll, by_ticket.clone()).await.unwrap_err().assert_refused("unauthorized");
    }
}

async fn refusals_of_the_sessions_node_come_back_as_they_are() {
    let nodes = Nodes::start().await;
    let place = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await.cut();
    let there = nodes.at_b(place);
    let forged = Attach::new().session(&there.session).cursor("1.1.1");
    there.user.try_attach(Transport::Poll, forged).await.unwrap_err().assert_refused("cursor_invalid");
    let numbered = there.again().number(7);
    poll(&there.user, &numbered, Some(0)).await.unwrap();
    poll(&there.user, &numbered, Some(0)).await.unwrap_err().assert_refused("stale_attach");
    // Nobody learns whether a session is another's or none.
    let mallory = nodes.user_at_b("mallory");
    for session in [&*there.session, "s-none"] {
        let refused = mallory.try_attach(Transport::Poll, Attach::new().session(session)).await;
        refused.unwrap_err().assert_refused("session_gone");
    }
}

async fn who_says_to_be_a_node_gets_nothing_for_it() {
    let nodes = Nodes::start().await;
    let place = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await.cut();
    let asks = |user: &crate::harness::user::User, token: Option<String>| {
        let url = user.stage().url(&format!("/v1/poll?session={}&wait_ms=0", place.session));
        let request = user.stage().http().get(url).header("edgeway-relayed-by", "n1");
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        async move { request.send().await.unwrap() }
    };
    let there = nodes.b.user(&place.user);
    let mallory = nodes.user_at_b("mallory");
    // Neither credentials nor another's session are to be had for the word.
    assert_eq!(asks(&there, None).await.status(), 401);
    assert_eq!(asks(&mallory, Some(mallory.token().to_owned())).await.status(), 410);
    // A request that was handed on is not handed on again.
    let misdirected = asks(&there, Some(there.token().to_owned())).await;
    assert_eq!(misdirected.status(), 421);
    let body: serde_json::Value = misdirected.json().await.unwrap();
    assert_eq!((&body["code"], &body["retryable"]), (&"unavailable".into(), &true.into()), "{body}");
    assert_eq!(asks(&place.user, Some(there.token().to_owned())).await.status(), 200);
}

async fn a_websocket_takes_the_session_along_exactly_and_its_old_reader_is_told() {
    const ROUNDS: usize = 6;
    let nodes = Nodes::start().await;
    let mut writer = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    for round in 1..=ROUNDS {
        let texts = numbered(&format!("r{round}"), 5);
        writer.say_all("tea", &texts).await;
        assert_eq!(reader.texts(5).await, texts);
        let to = if round % 2 == 0 { &nodes.a } else { &nodes.b };
        let place = reader.place();
        let moved = to.user(&place.user).attach_with(Transport::Ws, place.again()).await;
        assert_eq!(moved.resume(), "rebuilt", "{moved}");
        let ended = reader.ended().await;
        assert_eq!((ended.goaway_reason(), ended.close), ("superseded", Some(4009)), "{ended:?}");
        reader = moved;
    }
    // Had anything been repeated, it would come before this.
    writer.say("tea", "at last").await;
    reader.next_message_is("at last").await;
}

async fn what_was_held_by_a_node_that_was_killed_is_rebuilt_for_every_kind_of_request() {
    let nodes = Nodes::start().await;
    let mut writer = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut places = Vec::new();
    for _ in 0..4 {
        places.push(nodes.at_b(nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await.cut()));
    }
    nodes.a.server().program().kill();
    writer.say("tea", "all the same").await;
    for (place, on) in places.iter().zip(Transport::ALL) {
        let mut reader = place.attach(on).await;
        assert_eq!((reader.resume(), reader.session()), ("rebuilt", &*place.session), "{reader}");
        reader.next_message_is("all the same").await;
    }
    // A client may have something to say before it reads again.
    let last = &places[3];
    let answer = last.user.post(&last.session, &send("tea", "c1", "said first")).await;
    assert_eq!(answer.replies()[0]["type"], "ok", "{answer:?}");
    let mut reader = last.attach(Transport::Sse).await;
    assert_eq!(reader.session(), last.session, "{reader}");
    reader.next_message_is("all the same").await;
    reader.next_message_is("said first").await;
    let answer = places[0].user.call(Method::DELETE, &format!("/v1/sessions/{}", last.session), None).await;
    assert_eq!(answer.status, 410, "another user's");
}

async fn a_node_that_hangs_is_waited_for_and_then_done_without() {
    let nodes = Nodes::start().await;
    let mut writer = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let other = nodes.at_b(nodes.user("carol").attach_to(Transport::Ws, &["tea"]).await.cut());
    let place = nodes.at_b(reader.place());
    // There is a connection already, and nothing is asked on it.
    poll(&other.user, &other.again(), Some(0)).await.unwrap();
    nodes.a.server().program().signal("-STOP");
    writer.say("tea", "is anybody there?").await;
    // The connection is accepted by its kernel: only the missing answer tells.
    let answer = within("the poll", poll(&place.user, &place.again(), Some(8000))).await.unwrap();
    assert_eq!(answer.resume, "rebuilt");
    assert_eq!(text_of(&answer.events[0]), "is anybody there?");
    // Those who come next do without it, too.
    let mut moved = other.attach(Transport::Ws).await;
    assert_eq!(moved.resume(), "rebuilt", "{moved}");
    moved.next_message_is("is anybody there?").await;
    // When it goes on, it hears that the sessions have gone.
    nodes.a.server().program().signal("-CONT");
    let ended = reader.ended().await;
    assert_eq!((ended.goaway_reason(), ended.close), ("superseded", Some(4009)), "{ended:?}");
    writer.say("tea", "good").await;
    moved.next_message_is("good").await;
}

async fn a_node_that_could_not_hear_of_a_move_finds_out_when_its_link_is_back() {
    let nodes = Nodes::start().await;
    let mut writer = nodes.user_at_b("bob").attach_to(Transport::Ws, &["tea"]).await;
    let mut reader = nodes.user("alice").attach_to(Transport::Ws, &["tea"]).await;
    let mut stays = nodes.user("carol").attach_to(Transport::Ws, &["tea"]).await;
    let place = nodes.at_b(reader.place());
    nodes.a.server().program().signal("-STOP");
    // While it hangs, its live link is cut: what is said until it has a new one it can't hear.
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).exec(&mut nodes.redis.by_hand()).unwrap();
    let mut moved = eventually("the other node's own link to be back", || async {
        place.user.try_attach(Transport::Ws, place.again()).await.ok()
    })
    .await;
    assert_eq!((moved.resume(), moved.session()), ("rebuilt", &*place.session), "{moved}");
    nodes.a.server().program().signal("-CONT");
    let ended = reader.ended().await;
    assert_eq!((ended.goaway_reason(), ended.close), ("superseded", Some(4009)), "{ended:?}");
    writer.say("tea", "and on it goes").await;
    moved.next_message_is("and on it goes").await;
    stays.next_message_is("and on it goes").await;
}
