//! Centrifugo: its configuration, and what goes over the wire, as far as the load generator needs it. Its bidirectional
//! protocol in JSON over WebSocket is what its own client library speaks; over SSE it is the unidirectional one.

use serde_json::json;

/// Older ones have other names for what is configured.
const MAJOR_MIN: u32 = 6;

/// What it keeps of a channel for those who come back, as the other servers do.
const HISTORY_SIZE: usize = 64;

/// A pong is the same empty command as the ping.
const PING: &[u8] = b"{}";
const SUBSCRIBED: &[u8] = br#"{"id":2,"subscribe":{"#;
const CONNECTED: &[u8] = br#"{"connect":{"#;

/// The version that `centrifugo version` tells of, or what is wrong with it.
pub(crate) fn version(told: &str) -> Result<String, String> {
    let number = |version: &str| version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let mut words = told.split_whitespace().skip_while(|word| *word != "Centrifugo").skip(1);
    let version = words.next().map(|word| word.trim_start_matches('v'));
    match version.map(|version| (version, number(version))) {
        Some((version, Some(major))) if major >= MAJOR_MIN => Ok(version.to_owned()),
        Some((version, Some(_))) => Err(format!("Centrifugo {version} is older than {MAJOR_MIN}")),
        _ => Err(format!("this is not the version of a Centrifugo: {told:?}")),
    }
}

/// Its configuration: on loopback, all in memory, nobody asked who they are, heartbeats as often as by default (25 s). It
/// numbers what it publishes and tells a client again what it has missed. It writes no log, and tells nobody of its use.
pub(crate) fn config(port: u16) -> String {
    json!({
        "http_server": {"address": "127.0.0.1", "port": port.to_string()},
        "log": {"level": "none"},
        "usage_stats": {"disabled": true},
        "engine": {"type": "memory"},
        "client": {"insecure": true},
        "http_api": {"insecure": true},
        "uni_sse": {"enabled": true},
        "channel": {"without_namespace": {
            "history_size": HISTORY_SIZE, "history_ttl": "300s", "force_recovery": true,
        }},
    })
    .to_string()
}

/// The channel of a dialog: of those who follow none, one for all.
pub(crate) fn channel(dialog: Option<usize>) -> String {
    dialog.map_or_else(|| "of_".to_owned(), |dialog| format!("of_d{dialog}"))
}

/// What a client says first over a WebSocket: it connects and subscribes.
pub(crate) fn opening(channel: &str) -> Vec<u8> {
    let (connect, subscribe) =
        (json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": {"channel": channel}}));
    command(format!("{connect}\n{subscribe}").as_bytes())
}

/// The answer to a ping.
pub(crate) fn pong() -> Vec<u8> {
    command(PING)
}

/// A short frame of text, masked with zeros.
fn command(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126);
    let length = length.expect("a command has less than 126 bytes");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text].concat()
}

/// The query by which a stream is opened.
pub(crate) fn query(channel: &str) -> String {
    let connect = json!({"subs": {channel: {}}}).to_string();
    let escaped = connect.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    format!("cf_connect={}", escaped.collect::<String>())
}

/// The body by which a backend publishes.
pub(crate) fn publication(dialog: Option<usize>, json: &[u8]) -> Vec<u8> {
    let head = format!(r#"{{"channel":"{}","data":"#, channel(dialog));
    [head.as_bytes(), json, b"}"].concat()
}

/// Whether a backend's request was done: errors come with a status of 200, too.
pub(crate) fn is_published(body: &[u8]) -> bool {
    body.starts_with(br#"{"result":"#)
}

/// What a message means to a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The subscription is there.
    Subscribed,
    Publication,
    Ping,
    /// Nothing that matters here.
    Other,
    /// The client is refused, sent away, or told what it did not ask for.
    Refusal,
}

/// The meaning of one message. Over SSE there is no envelope, and the subscription comes with the connection.
pub(crate) fn read(message: &[u8], channel: &str) -> Meaning {
    let push = message.strip_prefix(br#"{"push":"#).unwrap_or(message);
    if message == PING {
        Meaning::Ping
    } else if push.starts_with(br#"{"channel":"#) {
        if push.starts_with(format!(r#"{{"channel":"{channel}","pub":"#).as_bytes()) {
            Meaning::Publication
        } else {
            Meaning::Refusal
        }
    } else if message.starts_with(SUBSCRIBED) {
        Meaning::Subscribed
    } else if message.starts_with(CONNECTED) {
        let subscription = format!(r#""subs":{{"{channel}":{{"#);
        let is_there = message.windows(subscription.len()).any(|window| window == subscription.as_bytes());
        if is_there { Meaning::Subscribed } else { Meaning::Refusal }
    } else if message.starts_with(br#"{"id":1,"connect":{"#) {
        Meaning::Other
    } else {
        Meaning::Refusal
    }
}
