//! The test, tested: a made-up tree that keeps every rule, and one change for each rule that must be seen.

use crate::rules::violations;
use crate::source::{Source, crate_names};

/// A small tree with at least one file in every layer.
const SOUND: [(&str, &str); 17] = [
    ("lib.rs", "//! Front page.\npub mod adapters;\npub mod app;\npub mod domain;"),
    ("main.rs", "use edgeway::app::cli;\n#[tokio::main]\nasync fn main() { cli::run().await }"),
    ("domain/mod.rs", "//! Docs.\npub mod ids;"),
    ("domain/ids.rs", "use std::fmt;\npub struct Id;"),
    ("session/mod.rs", "//! Docs.\npub mod machine;\npub mod outbox;"),
    ("session/machine.rs", "use super::outbox::Outbox;\nuse crate::domain::{ids::Id as Name};"),
    (
        "session/outbox.rs",
        "use bytes::Bytes;\n#[cfg(test)]\nmod tests { use proptest::prelude::*; use super::*; }",
    ),
    ("application/mod.rs", "pub mod ports;\npub mod feed;"),
    ("application/ports.rs", "use crate::session::machine;\nfn f(_: machine::Session) {}"),
    ("application/feed/mod.rs", "pub mod one;"),
    (
        "application/feed/one.rs",
        "use crate::application::ports::Bus;\nfn f() { tracing::info!(\"crate::app::x\") }",
    ),
    ("adapters/inbound/ws.rs", "use super::wire;\nuse crate::application::ports;\nuse axum::Router;"),
    ("adapters/inbound/sse.rs", "use super::wire::Event;"),
    ("adapters/inbound/wire.rs", "pub struct Event;"),
    ("adapters/outbound/store_grpc/client.rs", "use crate::proto::store::v1;"),
    ("config/load.rs", "use crate::adapters::inbound::ws::Config;"),
    ("app/cli.rs", "use crate::config::load;\nuse crate::adapters::outbound::store_grpc::client;"),
];

fn violations_with(path: &str, text: &str) -> Vec<String> {
    let mut tree: Vec<Source> = SOUND.iter().map(|(path, text)| Source::new(path, text)).collect();
    tree.push(Source::new("proto.rs", "pub mod store { pub mod v1 { tonic::include_proto!(\"x\"); } }"));
    let changed = Source::new(path, text);
    tree.retain(|source| source.name != changed.name);
    tree.push(changed);
    violations(&tree, &crate_names())
}

/// Puts one file into the sound tree: this must be seen, and nothing else but the circle that looking up may close.
#[track_caller]
fn refused(path: &str, text: &str, seen: &str) {
    let found = violations_with(path, text);
    let first = found.first().is_some_and(|first| first.contains(seen));
    let rest = found.iter().skip(1).all(|other| other.contains("need each other"));
    assert!(first && rest, "{path}: {text}\n{found:#?}");
}

#[track_caller]
fn accepted(path: &str, text: &str) {
    let found = violations_with(path, text);
    assert!(found.is_empty(), "{path}: {text}\n{found:#?}");
}

#[test]
fn the_sound_tree_is_sound() {
    accepted("domain/ids.rs", SOUND[3].1);
}

#[test]
fn nobody_looks_up() {
    refused("domain/body.rs", "use crate::session::machine::Session;", "which lies above");
    refused("session/cursor.rs", "use crate::application::ports;", "which lies above");
    refused("application/care.rs", "use crate::adapters::inbound::wire;", "which lies above");
    refused("adapters/inbound/poll.rs", "use crate::config::load;", "which lies above");
    refused("reference_store/server.rs", "use crate::config::load;", "which lies above");
    refused("config/raw.rs", "use crate::app::dev;", "which lies above");
    refused("app/dev.rs", "use crate::main;", "which lies above");
}

#[test]
fn it_is_seen_however_it_is_written() {
    for text in [
        "use crate::{domain::ids, application::{ports as p}};",
        "pub(crate) use crate::application::*;",
        "use super::super::application::ports;",
        "use super::super::{application};",
        "fn f() { crate::application::ports::open() }",
        "type T<'a> = Vec<&'a crate::application::ports::Bus>;",
        "fn f() { let quote = '\"'; crate::application::open(); let _ = \"//\"; }",
        "fn f() { let _ = r#\"\"\"#; crate::application::open() }",
        "mod inner { use super::super::super::application::ports; }",
        "#[cfg(test)] mod tests { use crate::application::ports; }",
        "/* /* nested */ */ use crate::application::ports; // crate::app",
    ] {
        refused("session/cursor.rs", text, "which lies above");
    }
    accepted("session/cursor.rs", "//! See [`crate::application`].\n/* use crate::app; */ // crate::app::x");
    accepted(
        "session/cursor.rs",
        "const A: &str = \"use crate::app;\"; const B: &str = r#\"crate::app::x\"#;",
    );
}

#[test]
fn strangers_stay_strangers() {
    refused("adapters/inbound/poll.rs", "use crate::adapters::outbound::store_grpc::client;", "strangers");
    refused("adapters/outbound/auth/token.rs", "use crate::adapters::inbound::wire::Event;", "strangers");
    refused("adapters/inbound/poll.rs", "use super::ws::Connection;", "strangers");
    refused("adapters/inbound/sse.rs", "fn f() { super::poll::wait() }", "strangers");
    refused("reference_store/server.rs", "use crate::adapters::outbound::store_grpc::client;", "strangers");
    refused("adapters/outbound/memory/bus.rs", "use crate::reference_store::server;", "strangers");
}

#[test]
fn the_generated_code_is_the_stores_and_its_clients() {
    accepted("reference_store/wire.rs", "use crate::proto::store::v1;");
    refused("adapters/inbound/poll.rs", "use crate::proto::store::v1;", "generated code");
    refused("app/dev.rs", "use crate::proto::store::v1;", "generated code");
}

#[test]
fn a_part_uses_the_crates_it_is_given() {
    for name in ["tokio", "axum", "tonic", "serde", "serde_json", "hyper"] {
        for layer in ["domain", "session"] {
            refused(&format!("{layer}/x.rs"), &format!("use {name}::X;"), &format!("the crate {name},"));
        }
    }
    for name in ["axum", "tonic", "hyper", "serde_json"] {
        refused("application/x.rs", &format!("fn f() {{ {name}::f() }}"), &format!("the crate {name},"));
    }
    refused("session/x.rs", "fn f() { ::tokio::spawn() }", "the crate tokio,");
    refused("session/x.rs", "#[derive(serde::Serialize)] struct X;", "the crate serde,");
    refused("session/x.rs", "#[cfg(test)] mod tests { use tokio::x; }", "the crate tokio,");
    refused("app/x.rs", "use tonic::Status;", "the crate tonic,");
}

#[test]
fn what_is_for_tests_alone_is_for_tests_alone() {
    refused("session/x.rs", "use proptest::prelude::*;", "the crate proptest,");
    refused("session/x.rs", "#[cfg(test)] use bytes::A; use proptest::B;", "the crate proptest,");
    accepted("session/x.rs", "#[cfg(test)] #[rustfmt::skip] fn f(_: [u8; 2]) { proptest::f() }");
    accepted("session/x.rs", "fn f() {} #[cfg(test)] mod tests { fn g() { proptest::f() } }");
}

#[test]
fn a_name_that_only_looks_like_a_crate_is_none() {
    accepted("config/raw.rs", "use super::bytes;\nfn f() { bytes::parse() }");
    accepted("domain/ids.rs", "mod http;\nfn f() { http::parse(); self.tokio.redis::<u8>() }");
}

#[test]
fn a_table_of_contents_holds_nothing_else() {
    accepted("domain/mod.rs", "//! Docs.\n#![allow(x)]\n#[cfg(test)]\nmod ids;\npub(crate) mod body;");
    refused("domain/mod.rs", "pub mod ids;\npub use self::ids::Id;", "more than docs and mod lines");
    refused("domain/mod.rs", "pub mod ids { pub struct Id; }", "more than docs and mod lines");
    refused("lib.rs", "pub mod domain;\npub fn f() {}", "more than docs and mod lines");
}

#[test]
fn nobody_takes_from_the_own_parent() {
    refused("session/cursor.rs", "use super::Limits;", "from its own parent");
    refused("session/cursor.rs", "use crate::session::{Limits};", "from its own parent");
    refused("session/cursor.rs", "use super::*;", "from its own parent");
    accepted("session/cursor.rs", "use super::outbox::Outbox;\nmod inner { use super::Own; }");
}

#[test]
fn folders_do_not_go_in_circles() {
    let seen = "application::feed and application::ports need each other";
    refused("application/ports.rs", "use super::feed::one;", seen);
    accepted("application/ports.rs", "#[cfg(test)] mod tests { use crate::application::feed::one; }");
    accepted("application/care.rs", "use super::feed::one;");
    // Two files are no folder.
    accepted("session/outbox.rs", "use super::machine::Session;");
    // Over a third one, too.
    let mut tree: Vec<Source> = SOUND.iter().map(|(path, text)| Source::new(path, text)).collect();
    tree.push(Source::new("application/a/mod.rs", "pub mod x;"));
    tree.push(Source::new("application/a/x.rs", "use crate::application::b::x;"));
    tree.push(Source::new("application/b/mod.rs", "pub mod x;"));
    tree.push(Source::new("application/b/x.rs", "use crate::application::c::x;"));
    tree.push(Source::new("application/c/mod.rs", "pub mod x;"));
    tree.push(Source::new("application/c/x.rs", "use crate::application::a::x;"));
    let found = violations(&tree, &crate_names());
    assert_eq!(found.len(), 3, "{found:#?}");
}

#[test]
fn an_exception_ends_with_its_reason() {
    refused("application/sessions/mod.rs", "//! Docs.", "need each other no more");
}

#[test]
fn whatever_is_new_has_its_place() {
    refused("helpers/x.rs", "pub fn f() {}", "belongs to no layer");
}
