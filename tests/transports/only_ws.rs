//! What only WebSocket can show: `hello`, subprotocol, close codes, frames that are no good.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::attach::{Attach, Credentials};
use crate::harness::check;
use crate::harness::client::{Client, numbered, send};
use crate::harness::ending::Ended;
use crate::harness::line::Line;
use crate::harness::names::unique;
use crate::harness::raw::{
    OPCODE_CONTINUATION, OPCODE_PING, OPCODE_TEXT, RawConnection, client_fragment, client_frame,
    frame_claiming,
};
use crate::harness::runner::{eventually, within};
use crate::harness::server::Settings;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;
use crate::harness::user::User;
use crate::harness::ws_line::WsLine;

once! {
    a_hello_says_who_it_is,
    a_hello_goes_on_with_a_session,
    a_hello_with_a_bad_token_is_unauthorized,
    a_first_frame_that_is_no_hello_is_refused,
    without_a_hello_in_time_the_line_is_closed,
    a_command_without_ref_is_answered_only_when_it_fails,
    a_ping_without_ref_has_its_pong,
    the_subprotocol_is_selected_when_it_is_offered,
    an_offer_without_the_subprotocol_is_refused,
    an_upgrade_that_is_wrong_is_refused_by_http,
    a_polite_close_leaves_the_session,
    what_was_said_just_before_the_close_is_carried_out,
    a_text_frame_of_64_kib_is_taken,
    a_fragmented_command_is_taken,
    a_frame_that_is_no_good_is_closed_with_its_code,
    a_larger_frame_than_allowed_is_closed_though_it_is_whole,
    a_flood_of_pings_is_closed,
    the_server_pings,
    whoever_never_answers_a_ping_is_closed,
}

const ANONYMOUS: Credentials = Credentials::None;

fn anonymous() -> Attach {
    Attach::new().credentials(ANONYMOUS)
}

async fn open(user: &User, attach: &Attach) -> WsLine {
    WsLine::open(user, attach).await.unwrap_or_else(|ended| panic!("no upgrade: {ended:?}"))
}

/// Opens without credentials and says this first.
async fn greet(user: &User, hello: Value) -> Result<Client, Ended> {
    let mut line = open(user, &anonymous()).await;
    line.send_json(&hello).await;
    Client::greeted(user, Transport::Ws, Line::Ws(Box::new(line))).await
}

async fn a_hello_says_who_it_is() {
    let alice = Stage::shared().user("alice").await;
    let hello = json!({ "type": "hello", "token": alice.token(), "device_id": "phone", "unknown": 1 });
    let client = greet(&alice, hello).await;
    let mut client = client.unwrap_or_else(|ended| panic!("a good hello is welcome: {ended:?}"));
    assert_eq!((client.resume(), &client.welcome()["user_id"]), ("new", &json!(alice.id())));
    let dialog = unique("d");
    client.subscribe(&[&dialog]).await;
    client.say(&dialog, "hello").await;
    client.next_message_is("hello").await;
}

async fn a_hello_goes_on_with_a_session() {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let attach = Attach::new().dialogs(&[&dialog]).number(1);
    let place = alice.attach_with(Transport::Ws, attach).await.cut();
    bob.attach(Transport::Ws).await.say_all(&dialog, &numbered("m", 3)).await;
    let hello = |number: u64| {
        json!({
            "type": "hello", "token": alice.token(), "session": place.session, "cursor": place.cursor, "attach": number,
        })
    };
    let client = greet(&alice, hello(2)).await;
    let mut client = client.unwrap_or_else(|ended| panic!("a good hello is welcome: {ended:?}"));
    assert_eq!((client.resume(), client.session()), ("resumed", place.session.as_str()));
    assert_eq!(client.texts(3).await, numbered("m", 3));
    match greet(&alice, hello(2)).await {
        Err(ended) => ended.assert_refused("stale_attach"),
        Ok(client) => panic!("a stale hello was taken: {client}"),
    }
    client.ok(json!({ "type": "ping" })).await;
}

async fn a_hello_with_a_bad_token_is_unauthorized() {
    let alice = Stage::shared().user("alice").await;
    for token in [json!("garbage"), json!(""), json!("a.b.c")] {
        match greet(&alice, json!({ "type": "hello", "token": token })).await {
            Err(ended) => {
                ended.assert_refused("unauthorized");
                assert_eq!(ended.close, Some(4001), "{ended:?}");
            }
            Ok(client) => panic!("{token} was let in: {client}"),
        }
    }
}

async fn a_first_frame_that_is_no_hello_is_refused() {
    let alice = Stage::shared().user("alice").await;
    for first in [json!({ "type": "ping" }), json!({ "type": "hello" }), json!("hello"), json!([])] {
        match greet(&alice, first.clone()).await {
            Err(ended) => {
                let code = ended.code();
                assert!(["unauthorized", "bad_request"].contains(&code), "{first}: {ended:?}");
                ended.assert_refused(code);
                assert!(ended.close.is_some(), "{first}: {ended:?}");
            }
            Ok(client) => panic!("{first} was let in: {client}"),
        }
    }
}

async fn without_a_hello_in_time_the_line_is_closed() {
    let alice = Stage::shared().user("alice").await;
    let line = open(&alice, &anonymous()).await;
    // Five seconds are allowed; the deadline of a wait is twice that.
    match Client::greeted(&alice, Transport::Ws, Line::Ws(Box::new(line))).await {
        Err(ended) => {
            ended.assert_refused("unauthorized");
            assert_eq!(ended.close, Some(4001), "{ended:?}");
        }
        Ok(client) => panic!("nobody was let in: {client}"),
    }
}

async fn a_command_without_ref_is_answered_only_when_it_fails() {
    let mut client = Stage::shared().user("alice").await.attach(Transport::Ws).await;
    let dialog = unique("d");
    client.fire(&json!({ "type": "status", "state": "online" })).await;
    client.fire(&json!({ "type": "subscribe", "dialogs": [dialog] })).await;
    client.fire(&json!({ "type": "no_such_thing" })).await;
    let error = client.next_answer("the error").await;
    check::error(&error, "unknown_type");
    assert!(error.get("ref").is_none(), "{error}");
    client.fire(&json!({ "type": "status", "state": "online" })).await;
    client.fire(&json!({ "type": "ping", "ref": "p" })).await;
    let pong = client.next_answer("the pong").await;
    assert_eq!((&pong["type"], &pong["ref"]), (&json!("pong"), &json!("p")), "{pong}");
}

async fn a_ping_without_ref_has_its_pong() {
    let mut client = Stage::shared().user("alice").await.attach(Transport::Ws).await;
    client.fire(&json!({ "type": "ping" })).await;
    let pong = client.next_answer("the pong").await;
    assert_eq!(pong["type"], "pong", "{pong}");
    check::time(&pong, "server_time");
}

async fn the_subprotocol_is_selected_when_it_is_offered() {
    let alice = Stage::shared().user("alice").await;
    for (offer, selected) in [
        (None, None),
        (Some("edgeway.v1"), Some("edgeway.v1")),
        (Some("chat, edgeway.v1, x"), Some("edgeway.v1")),
    ] {
        let headers: Vec<_> = offer.map(|offer| ("sec-websocket-protocol", offer)).into_iter().collect();
        let opened = WsLine::open_with_headers(&alice, &Attach::new(), &headers).await;
        let (_line, response) = opened.unwrap_or_else(|ended| panic!("{offer:?} is served: {ended:?}"));
        let answer = response.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok());
        assert_eq!(answer, selected, "offered {offer:?}");
    }
}

async fn an_offer_without_the_subprotocol_is_refused() {
    let alice = Stage::shared().user("alice").await;
    for offer in ["chat", "edgeway.v2", "edgeway.v1x"] {
        let headers = [("sec-websocket-protocol", offer)];
        match WsLine::open_with_headers(&alice, &Attach::new(), &headers).await {
            Err(ended) => ended.assert_refused("bad_request"),
            Ok(_) => panic!("the offer {offer:?} was served"),
        }
    }
}

/// The key of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

async fn an_upgrade_that_is_wrong_is_refused_by_http() {
    let alice = Stage::shared().user("alice").await;
    let authorization = format!("Bearer {}", alice.token());
    let good = [
        ("authorization", authorization.as_str()),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    for (what, line, changed, value, status) in [
        ("nothing wrong", "GET", "", "", 101),
        ("an old version", "GET", "sec-websocket-version", "8", 426),
        ("no version", "GET", "sec-websocket-version", "", 426),
        ("a short key", "GET", "sec-websocket-key", "c2hvcnQ=", 400),
        ("a key that is no base64", "GET", "sec-websocket-key", "????????????????????????", 400),
        ("no key", "GET", "sec-websocket-key", "", 400),
        ("no upgrade", "GET", "upgrade", "", 426),
        ("a POST", "POST", "", "", 405),
    ] {
        let mut headers = Vec::from(good);
        headers.retain_mut(|(name, old)| {
            if *name == changed {
                *old = value;
            }
            !old.is_empty()
        });
        let mut connection = RawConnection::open(alice.stage()).await;
        connection.request(&format!("{line} /v1/ws"), &headers).await;
        let answer = connection.answer().await;
        // Without `Upgrade` or a version RFC 6455 leaves open whether the request is bad or an upgrade is required.
        let also_400 = status == 426 && value.is_empty() && answer.status == 400;
        assert!(answer.status == status || also_400, "{what} should be {status}: {answer:?}");
        if answer.status == 101 {
            assert_eq!(
                answer.header("sec-websocket-accept"),
                Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                "{answer:?}"
            );
        } else {
            check::error(&answer.json(), "bad_request");
        }
        if answer.status == 426 && changed == "sec-websocket-version" {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"), "RFC 6455 §4.4: {answer:?}");
        }
    }
}

async fn a_polite_close_leaves_the_session() {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    let dialog = unique("d");
    let mut client = alice.attach_to(Transport::Ws, &[&dialog]).await;
    match client.line() {
        Line::Ws(line) => line.close().await,
        other => panic!("not a WebSocket: {other:?}"),
    }
    client.ended().await;
    bob.attach(Transport::Ws).await.say(&dialog, "missed").await;
    let mut again = client.cut().attach(Transport::Ws).await;
    assert_eq!(again.resume(), "resumed");
    again.next_message_is("missed").await;
}

async fn what_was_said_just_before_the_close_is_carried_out() {
    let stage = Stage::shared();
    let (alice, bob) = (stage.user("alice").await, stage.user("bob").await);
    // Whoever says something has read what was said before: hence another dialog.
    let (dialog, other) = (unique("d"), unique("d"));
    let mut writer = bob.attach_to(Transport::Ws, &[&dialog, &other]).await;
    writer.say(&dialog, "read this").await;
    let mut reader = alice.attach_to(Transport::Ws, &[&dialog]).await;
    let session = reader.session().to_owned();
    match reader.line() {
        Line::Ws(line) => {
            line.send_json(&json!({ "type": "read_upto", "dialog_id": dialog, "seq": 1 })).await;
            line.send_json(&send(&other, "last.words", "and so to bed")).await;
            line.send_json(&json!({ "type": "bye" })).await;
            line.close().await;
        }
        other => panic!("not a WebSocket: {other:?}"),
    }
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(writer.event().await["type"].as_str().map(str::to_owned));
    }
    kinds.sort();
    assert_eq!(kinds, ["message_new", "message_new", "receipt"].map(|kind| Some(kind.to_owned())));
    drop(reader);
    // The `bye` is carried out after all the rest.
    eventually("the session is gone", || async {
        (alice.post(&session, &json!({ "type": "ping" })).await.status == 410).then_some(())
    })
    .await;
}

async fn a_text_frame_of_64_kib_is_taken() {
    const LIMIT: usize = 64 * 1024;
    let mut client = Stage::shared().user("alice").await.attach(Transport::Ws).await;
    let bare = json!({ "type": "ping", "ref": "big", "x": "" }).to_string();
    let frame = bare.replace(r#""x":"""#, &format!(r#""x":"{}""#, "x".repeat(LIMIT - bare.len())));
    assert_eq!(frame.len(), LIMIT);
    match client.line() {
        Line::Ws(line) => line.send(Message::text(frame)).await,
        other => panic!("not a WebSocket: {other:?}"),
    }
    assert_eq!(client.next_answer("the pong").await["ref"], "big");
}

/// An upgraded connection that is written by hand; whatever is read first is the welcome.
async fn upgraded(user: &User) -> RawConnection {
    let mut connection = RawConnection::open(user.stage()).await;
    let authorization = format!("Bearer {}", user.token());
    let headers = [
        ("authorization", authorization.as_str()),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    connection.request("GET /v1/ws", &headers).await;
    let answer = connection.answer().await;
    assert_eq!(answer.status, 101, "{answer:?}");
    connection
}

async fn a_fragmented_command_is_taken() {
    let alice = Stage::shared().user("alice").await;
    let mut client = alice.attach(Transport::Ws).await;
    let command = json!({ "type": "ping", "ref": "in pieces", "x": "é👋" }).to_string();
    let Line::Ws(line) = client.line() else { panic!("not a WebSocket") };
    // Byte by byte would be too many; a ping may stand between two fragments (RFC 6455 §5.4).
    let pieces: Vec<&[u8]> = command.as_bytes().chunks(3).collect();
    let mut bytes = client_fragment(OPCODE_TEXT, pieces[0]);
    for piece in &pieces[1..] {
        bytes.extend(client_fragment(OPCODE_CONTINUATION, piece));
    }
    bytes.extend(client_frame(OPCODE_PING, b"between"));
    bytes.extend(client_frame(OPCODE_CONTINUATION, b""));
    within("the fragments to be written", line.socket().write_all(&bytes)).await.expect("the line is open");
    let pong = client.next_answer("the answer to the fragments").await;
    assert_eq!((&pong["type"], &pong["ref"]), (&json!("pong"), &json!("in pieces")), "{pong}");
    client.ok(json!({ "type": "ping" })).await;
}

async fn a_frame_that_is_no_good_is_closed_with_its_code() {
    const PATIENCE: Duration = Duration::from_secs(10);
    let alice = Stage::shared().user("alice").await;
    let ping = br#"{"type":"ping"}"#;
    let unmasked =
        [&[0x80 | OPCODE_TEXT, u8::try_from(ping.len()).expect("it is short")], &ping[..]].concat();
    let mut fragments = client_fragment(OPCODE_TEXT, b" ");
    for _ in 0..70 {
        fragments.extend(client_fragment(OPCODE_CONTINUATION, b" "));
    }
    let large = b" ".repeat(40 * 1024);
    let large_in_two =
        [client_fragment(OPCODE_TEXT, &large), client_fragment(OPCODE_CONTINUATION, &large)].concat();
    let mut cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("a binary frame", client_frame(0x2, b"x"), &[1003]),
        ("an empty binary frame", client_frame(0x2, b""), &[1003]),
        ("invalid UTF-8", client_frame(OPCODE_TEXT, b"{\"type\":\"\xff\"}"), &[1007]),
        ("a surrogate in UTF-8", client_frame(OPCODE_TEXT, b"\xed\xa0\x80"), &[1007]),
        ("UTF-8 cut short", client_frame(OPCODE_TEXT, b"\xc3"), &[1007]),
        ("a frame that claims 64 KiB and a byte", frame_claiming(0x81, 64 * 1024 + 1), &[1009]),
        ("a frame that claims 2^62 bytes", frame_claiming(0x81, 1 << 62), &[1009]),
        ("fragments above 64 KiB in all", large_in_two, &[1009]),
        ("more than 64 fragments", fragments, &[1008]),
        ("no mask", unmasked, &[1002]),
        ("a reserved bit", frame_claiming(0x80 | 0x40 | OPCODE_TEXT, 0), &[1002]),
        ("a reserved opcode", client_frame(0x3, b""), &[1002]),
        ("a reserved control opcode", client_frame(0xb, b""), &[1002]),
        ("a continuation of nothing", client_frame(OPCODE_CONTINUATION, b"x"), &[1002]),
        ("a fragmented ping", client_fragment(OPCODE_PING, b"x"), &[1002]),
        ("a ping of 126 bytes", client_frame(OPCODE_PING, &[b'x'; 126]), &[1002]),
        ("a close frame of one byte", client_frame(0x8, b"x"), &[1002]),
        ("a close code that must not be sent", client_frame(0x8, &1005_u16.to_be_bytes()), &[1002]),
        // RFC 6455 §5.2: the most significant bit must be 0; that it is also too large is as true.
        ("a length above 2^63", frame_claiming(0x81, u64::MAX), &[1002, 1009]),
    ];
    let interleaved = [client_fragment(OPCODE_TEXT, b"a"), client_frame(OPCODE_TEXT, b"b")].concat();
    cases.push(("a new message inside another", interleaved, &[1002]));
    for (what, bytes, expected) in cases {
        let user = alice.stage().user("wild").await;
        let mut connection = upgraded(&user).await;
        connection.write(&bytes).await;
        let code = connection.close_code(what, PATIENCE).await;
        assert!(
            code.is_some_and(|code| expected.contains(&code)),
            "{what} should be closed with {expected:?}, not {code:?}"
        );
    }
    // The neighbours notice nothing.
    alice.attach(Transport::Ws).await.ok(json!({ "type": "ping" })).await;
}

async fn a_larger_frame_than_allowed_is_closed_though_it_is_whole() {
    let mut client = Stage::shared().user("alice").await.attach(Transport::Ws).await;
    let frame = json!({ "type": "ping", "x": "x".repeat(64 * 1024) }).to_string();
    match client.line() {
        Line::Ws(line) => line.send(Message::text(frame)).await,
        other => panic!("not a WebSocket: {other:?}"),
    }
    let ended = client.ended().await;
    assert_eq!(ended.close, Some(1009), "{ended:?}\n{client}");
    let again = client.cut().attach(Transport::Ws).await;
    assert_eq!(again.resume(), "resumed", "the session is none the worse");
}

async fn a_flood_of_pings_is_closed() {
    const PATIENCE: Duration = Duration::from_secs(10);
    const PINGS: usize = 20_000;
    let alice = Stage::shared().user("alice").await;
    let mut connection = upgraded(&alice).await;
    // As fast as they are taken: whatever "for long" is, this is above it. A write that fails has been closed already.
    let flood = client_frame(OPCODE_PING, b"").repeat(PINGS);
    connection.write_if_open(&flood).await;
    assert_eq!(connection.close_code("a flood of pings", PATIENCE).await, Some(1008));
}

async fn the_server_pings() {
    const SETTINGS: Settings = &[("EDGEWAY__TRANSPORTS__WS__PING", "200ms")];
    let alice = Stage::with(SETTINGS).user("alice").await;
    let mut line = open(&alice, &Attach::new()).await;
    for _ in 0..3 {
        assert!(line.hear_ping().await.len() <= 125, "RFC 6455 §5.5");
    }
    // Answered pings keep the line.
    line.send_json(&json!({ "type": "ping", "ref": "still here" })).await;
}

async fn whoever_never_answers_a_ping_is_closed() {
    const SETTINGS: Settings = &[("EDGEWAY__TRANSPORTS__WS__PING", "200ms")];
    /// 10 s are allowed on top of the ping's time, by contract.
    const PATIENCE: Duration = Duration::from_secs(30);
    let alice = Stage::with(SETTINGS).user("alice").await;
    let mut connection = upgraded(&alice).await;
    assert_eq!(connection.close_code("silence", PATIENCE).await, Some(4104));
}
