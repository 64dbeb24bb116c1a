//! `/metrics` of a real process.

use std::collections::BTreeMap;

use edgeway::adapters::outbound::telemetry::catalogue::{Kind, Metric};
use edgeway::adapters::outbound::telemetry::process;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::dev::{Dev, message};
use crate::exposition::{Family, Labels, parse};

async fn scrape(dev: &Dev) -> BTreeMap<String, Family> {
    let (status, text) = dev.ask("/metrics").await;
    assert_eq!(status, 200);
    parse(&text)
}

fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let base = ["_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let family = families.get(base).or(families.get(name)).unwrap_or_else(|| panic!("no {name}"));
    let found = family.samples.iter().find(|(full, own, _)| full == name && *own == labels);
    found.unwrap_or_else(|| panic!("no {name} {labels:?}")).2
}

#[tokio::test]
async fn all_metrics_are_there_from_the_start_and_parse_strictly() {
    let dev = Dev::start(&[]);
    let families = scrape(&dev).await;
    for metric in Metric::ALL {
        // The keys of a development node are its own: they are never fetched.
        if *metric == Metric::JwksAge {
            continue;
        }
        let family = families.get(metric.name()).unwrap_or_else(|| panic!("no {}", metric.name()));
        assert_eq!((&*family.kind, &*family.help), (metric.kind().as_str(), metric.help()));
        let series: usize = metric.labels().iter().map(|label| label.values.len()).product();
        if metric.kind() == Kind::Counter {
            assert_eq!(family.samples.len(), series, "{}", metric.name());
        }
    }
    for name in process::NAMES {
        assert!(families.contains_key(name), "no {name}");
    }
    let own = |name: &String| name.starts_with("edgeway_") || name.starts_with("process_");
    assert!(families.keys().all(own), "{:?}", families.keys());
}

#[tokio::test]
async fn what_clients_do_is_counted() {
    let dev = Dev::start(&[]);
    let token = dev.token("alice").await;
    let (_, welcome) = dev.get("/v1/poll?dialogs=tea", &token, &[]).await;
    let (session, cursor) = (welcome["session"].as_str().unwrap(), welcome["cursor"].as_str().unwrap());
    let path = format!("/v1/poll?session={session}&cursor={cursor}&wait_ms=10000");
    // The poll waits when the message comes: only then its way is measured.
    let waiting = async { dev.get(&path, &token, &[]).await };
    let sending = async {
        while value(&scrape(&dev).await, "edgeway_connections", &[("transport", "poll")]) == 0.0 {
            tokio::task::yield_now().await;
        }
        dev.command(session, &token, &[], message("tea", "c1", "Kettle is on.")).await
    };
    let ((status, events), reply) = tokio::join!(waiting, sending);
    assert_eq!((status, &reply["type"]), (200, &json!("ok")), "{events} {reply}");
    dev.command(session, &token, &[], json!({ "type": "dance", "ref": "x" })).await;
    dev.get("/v1/poll?session=s00", &token, &[]).await;
    dev.get("/v1/poll", "forged", &[]).await;
    for token in ["forged", &*token] {
        let url = format!("{}/v1/ws", dev.public.replace("http", "ws"));
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let hello = json!({ "type": "hello", "token": token });
        socket.send(Message::text(hello.to_string())).await.unwrap();
        socket.next().await.unwrap().unwrap();
    }

    let families = scrape(&dev).await;
    let poll = ("transport", "poll");
    for (name, labels, expected) in [
        ("edgeway_attaches_total", &[poll, ("outcome", "new")][..], 1.0),
        ("edgeway_attaches_total", &[poll, ("outcome", "resumed")], 1.0),
        ("edgeway_attaches_total", &[poll, ("outcome", "session_gone")], 1.0),
        ("edgeway_attaches_total", &[poll, ("outcome", "unauthorized")], 1.0),
        ("edgeway_attaches_total", &[("transport", "ws"), ("outcome", "unauthorized")], 1.0),
        ("edgeway_commands_total", &[("type", "hello"), ("code", "unauthorized")], 1.0),
        ("edgeway_commands_total", &[("type", "hello"), ("code", "ok")], 1.0),
        ("edgeway_resumes_total", &[("outcome", "resumed")], 1.0),
        ("edgeway_commands_total", &[("type", "send_message"), ("code", "ok")], 1.0),
        ("edgeway_commands_total", &[("type", "unknown"), ("code", "unknown_type")], 1.0),
        ("edgeway_deliveries_total", &[poll], 1.0),
        ("edgeway_delivery_latency_seconds_count", &[], 1.0),
        ("edgeway_commit_to_socket_seconds_count", &[], 1.0),
        ("edgeway_store_calls_total", &[("method", "Send"), ("code", "ok")], 1.0),
        ("edgeway_store_call_seconds_count", &[("method", "Send")], 1.0),
        ("edgeway_queue_events", &[], 1.0),
        ("edgeway_draining", &[], 0.0),
        ("edgeway_store_circuit_open", &[], 0.0),
        ("edgeway_jwks_keys", &[], 1.0),
    ] {
        assert_eq!(value(&families, name, labels), expected, "{name} {labels:?}");
    }
    assert!(value(&families, "edgeway_sent_bytes_total", &[poll]) > 100.0);
    assert!(value(&families, "edgeway_received_bytes_total", &[]) > 100.0);
    assert!(value(&families, "edgeway_feeds", &[]) >= 2.0);
}
