//! Commands as such: replies, batches, and everything that is no command.

use serde_json::{Value, json};

use crate::harness::check;
use crate::harness::client::send;
use crate::harness::names::unique;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;

on_every_transport! {
    a_ping_is_answered_with_the_servers_time,
    an_unknown_type_is_told_so,
    unknown_fields_are_ignored,
    what_is_not_a_command_is_a_bad_request_and_does_nothing,
    a_ref_is_one_to_sixty_four_printable_characters,
    a_batch_is_answered_command_by_command_in_order,
    a_batch_over_sixty_four_commands_does_nothing,
    a_body_over_64_kib_is_too_large,
    a_body_that_is_not_json_is_refused_by_its_type,
}

async fn a_ping_is_answered_with_the_servers_time(on: Transport) {
    let mut client = Stage::shared().user("alice").await.attach(on).await;
    let pong = client.command(json!({ "type": "ping" })).await;
    assert_eq!(pong["type"], "pong", "{pong}");
    check::time(&pong, "server_time");
}

async fn an_unknown_type_is_told_so(on: Transport) {
    let mut client = Stage::shared().user("alice").await.attach(on).await;
    for kind in ["no_such_thing", "", "PING", "message_new", "__proto__"] {
        client.refused(json!({ "type": kind }), "unknown_type").await;
    }
    client.ok(json!({ "type": "ping" })).await;
}

async fn unknown_fields_are_ignored(on: Transport) {
    let mut client = Stage::shared().user("alice").await.attach(on).await;
    client.ok(json!({ "type": "ping", "colour": "red", "nested": { "a": [1, 2] } })).await;
}

async fn what_is_not_a_command_is_a_bad_request_and_does_nothing(on: Transport) {
    let stage = Stage::shared();
    let alice = stage.user("alice").await;
    let dialog = unique("d");
    let deep = format!("{}{}", r#"{"type":"ping","x":"#.to_owned() + &"[".repeat(40), "]".repeat(40) + "}");
    let sending = |further: &str| {
        let id = unique("c");
        format!(
            r#"{{"type":"send_message","dialog_id":"{dialog}","client_message_id":"{id}","body":{{"text":"x"}}{further}}}"#
        )
    };
    let duplicate_inside = sending("").replace(r#""text":"x""#, r#""text":"x","text":"x""#);
    let broken: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("cut short", sending("").trim_end_matches('}').to_owned()),
        ("bytes after it", sending("") + " x"),
        ("two objects", sending("") + &sending("")),
        ("a string", r#""ping""#.into()),
        ("a number", "42".into()),
        ("null", "null".into()),
        ("no type", "{}".into()),
        ("a type that is a number", r#"{"type":7}"#.into()),
        ("a key twice", sending(r#","type":"send_message""#)),
        ("a key twice, written differently", sending(r#","\u0074ype":"send_message""#)),
        ("an unknown key twice", sending(r#","x":1,"x":1"#)),
        ("a key twice inside", duplicate_inside),
        ("too deep", deep),
        ("a lone surrogate", sending("").replace(r#""x""#, r#""\ud800""#)),
        ("a comment", "/* */".to_owned() + &sending("")),
        ("a trailing comma", sending(",")),
        ("single quotes", "{'type':'ping'}".into()),
        ("a number that is none", r#"{"type":"ping","x":NaN}"#.into()),
        ("an id that is a number", format!(r#"{{"type":"history","dialog_id":7,"ref":"{}"}}"#, unique("r"))),
        ("a negative seq", format!(r#"{{"type":"read_upto","dialog_id":"{dialog}","seq":-1}}"#)),
        ("a fractional seq", format!(r#"{{"type":"read_upto","dialog_id":"{dialog}","seq":1.5}}"#)),
        ("a huge seq", format!(r#"{{"type":"read_upto","dialog_id":"{dialog}","seq":1e400}}"#)),
        (
            "a seq above 64 bits",
            format!(r#"{{"type":"read_upto","dialog_id":"{dialog}","seq":99999999999999999999}}"#),
        ),
        ("a state that is none", format!(r#"{{"type":"typing","dialog_id":"{dialog}","state":"thinking"}}"#)),
        (
            "a send without its id",
            format!(r#"{{"type":"send_message","dialog_id":"{dialog}","body":{{"text":"x"}}}}"#),
        ),
        ("a subscribe to nothing named", r#"{"type":"subscribe"}"#.into()),
        ("a subscribe to a string", r#"{"type":"subscribe","dialogs":"d1"}"#.into()),
    ];
    let mut watcher = alice.attach_to(Transport::Ws, &[&dialog]).await;
    for (what, text) in broken {
        // A connection of its own: whether it survives such input is the server's choice.
        let mut client = alice.attach(on).await;
        let error = client.raw(&text).await;
        assert_eq!(error["code"], "bad_request", "{what}: {text:?} → {error}\n{client}");
        check::error(&error, "bad_request");
        let place = client.cut();
        alice.delete(&place.session).await;
    }
    watcher.say(&dialog, "nothing was sent").await;
    watcher.next_message_is("nothing was sent").await;
}

async fn a_ref_is_one_to_sixty_four_printable_characters(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let longest = "~".repeat(64);
    let good = json!([{ "type": "ping", "ref": "!" }, { "type": "ping", "ref": longest }, { "type": "ping", "ref": "a b" }]);
    let session = alice.attach(on).await.cut().session;
    let answer = alice.post(&session, &good).await;
    let refs: Vec<&Value> = answer.replies().iter().map(|reply| &reply["ref"]).collect();
    assert_eq!(refs, ["!", &longest, "a b"]);
    for bad in [json!(""), json!("~".repeat(65)), json!("é"), json!("a\nb"), json!(7)] {
        let mut client = alice.attach(on).await;
        let error = client.raw(&json!({ "type": "ping", "ref": bad }).to_string()).await;
        check::error(&error, "bad_request");
        let session = client.cut().session;
        alice.delete(&session).await;
    }
}

async fn a_batch_is_answered_command_by_command_in_order(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let client = alice.attach(on).await;
    let batch = json!([
        { "type": "status", "state": "online" },
        { "type": "ping", "ref": "a" },
        { "type": "no_such_thing" },
        { "type": "subscribe", "dialogs": [dialog], "ref": "b" },
        send(&dialog, &unique("c"), "from a batch"),
        { "type": "history", "dialog_id": dialog, "before_seq": 9, "after_seq": 1, "ref": "c" },
        { "type": "read_upto", "dialog_id": dialog, "seq": 1, "ref": "d" },
    ]);
    let answer = alice.post(client.session(), &batch).await;
    let replies = answer.replies();
    let told: Vec<(&Value, &Value)> = replies.iter().map(|reply| (&reply["type"], &reply["ref"])).collect();
    let (ok, pong, error, none) = (json!("ok"), json!("pong"), json!("error"), Value::Null);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(Value::from);
    let expected =
        [(&ok, &none), (&pong, &a), (&error, &none), (&ok, &b), (&ok, &none), (&error, &c), (&ok, &d)];
    assert_eq!(told, expected, "{replies:?}");
    assert_eq!(replies[2]["code"], "unknown_type", "{replies:?}");
    assert_eq!(replies[4]["seq"], 1, "{replies:?}");
    assert_eq!(replies[6]["read_seq"], 1, "each command sees what the one before it did: {replies:?}");

    let one = alice.post(client.session(), &json!({ "type": "ping" })).await;
    assert_eq!(one.replies().len(), 1, "a single command is answered by a list too: {one:?}");
}

async fn a_batch_over_sixty_four_commands_does_nothing(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let dialog = unique("d");
    let mut client = alice.attach_to(on, &[&dialog]).await;
    let batch = |count: usize| -> Value { (0..count).map(|_| send(&dialog, &unique("c"), "many")).collect() };
    let answer = alice.post(client.session(), &batch(65)).await;
    let code = answer.body["code"].as_str().unwrap_or_default();
    assert!(["bad_request", "too_large"].contains(&code), "{answer:?}");
    answer.assert_refused(code);
    client.say(&dialog, "marker").await;
    client.next_message_is("marker").await;

    let answer = alice.post(client.session(), &batch(64)).await;
    assert!(answer.replies().iter().all(|reply| reply["type"] == "ok"), "{answer:?}");
    assert_eq!(answer.replies().len(), 64);
    assert_eq!(client.texts(64).await, vec!["many"; 64]);
}

async fn a_body_over_64_kib_is_too_large(on: Transport) {
    const LIMIT: usize = 64 * 1024;
    let alice = Stage::shared().user("alice").await;
    let session = alice.attach(on).await.cut().session;
    let ping = |bytes: usize| {
        let bare = r#"{"type":"ping","x":""}"#;
        bare.replace(r#""""#, &format!(r#""{}""#, "x".repeat(bytes - bare.len())))
    };
    assert_eq!(ping(LIMIT).len(), LIMIT);
    alice.post_text(&session, ping(LIMIT + 1)).await.assert_refused("too_large");
    let answer = alice.post_text(&session, ping(LIMIT)).await;
    assert_eq!(answer.replies()[0]["type"], "pong", "{answer:?}");
}

async fn a_body_that_is_not_json_is_refused_by_its_type(on: Transport) {
    let alice = Stage::shared().user("alice").await;
    let session = alice.attach(on).await.cut().session;
    for media_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let stage = alice.stage();
        let response = stage
            .http()
            .post(stage.url(&format!("/v1/commands?session={session}")))
            .bearer_auth(alice.token())
            .header("content-type", media_type)
            .body(r#"{"type":"ping"}"#)
            .send()
            .await
            .unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(response.status(), 415, "{media_type}");
        let refusal = alice.refusal(response).await;
        check::error(&refusal.error.unwrap_or_default(), "bad_request");
    }
}
