//! The gateway under test: put together from the library as `edgeway dev` does it, with one door more, through which
//! events are appended to the bus as a Store would.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use edgeway::adapters::inbound::listener;
use edgeway::adapters::outbound::auth::config::KeyOrigin;
use edgeway::adapters::outbound::auth::issuer::TokenIssuer;
use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::adapters::outbound::memory::bus::{Config as MemoryConfig, MemoryBus};
use edgeway::adapters::outbound::redis::commands;
use edgeway::app::backplane::{Backplane, Presentation};
use edgeway::app::lifecycle::Lifecycle;
use edgeway::app::logging;
use edgeway::app::node::{Blueprint, Node};
use edgeway::application::ports::bus::EventLog;
use edgeway::application::ports::clock::Clock;
use edgeway::config::settings::Settings;
use edgeway::domain::ids::{DialogId, FeedKey};
use edgeway::reference_store::database::Database;
use edgeway::reference_store::server::{self, ReferenceStore};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::control::{Orders, announce};

/// What the scenarios need: no limit of theirs is what is measured.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("EDGEWAY__LISTEN", "127.0.0.1:0"),
    ("EDGEWAY__ADMIN_LISTEN", "127.0.0.1:0"),
    ("EDGEWAY__LIMITS__CONNECTS_PER_SECOND_PER_IP", "1000000"),
    ("EDGEWAY__LIMITS__COMMANDS_PER_SECOND", "100000"),
    ("EDGEWAY__LIMITS__SENDS_PER_SECOND", "100000"),
    ("EDGEWAY__TELEMETRY__LEVEL", "error"),
];

/// The node's name, as `welcome` tells it.
const NODE: &str = "bench";

/// Runs until it is killed. `keys` is a private key, of which only the public half is used; or a shared secret, if its
/// name ends in `.secret`.
pub(crate) async fn serve(keys: &Path, redis: Option<&str>) -> anyhow::Result<()> {
    let variables = ENVIRONMENT.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let secret = is_secret(keys)
        .then(|| ("EDGEWAY__AUTH__HMAC_SECRET_FILE".to_owned(), keys.to_string_lossy().into_owned()));
    let settings = Settings::development(variables.chain(secret).chain(std::env::vars()))?;
    let life = Lifecycle::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let _records = logging::start(&settings.telemetry, &clock)?;
    let memory = Arc::new(MemoryBus::new(MemoryConfig::default(), clock.clone()));
    let log: Arc<dyn EventLog> = memory.clone();
    let store_config = server::Config { database: Database::Memory, open: true };
    let store = ReferenceStore::open(&store_config, log, clock.clone())?;
    let store_listener = TcpListener::bind("127.0.0.1:0").await?;
    let store_address = store_listener.local_addr()?;
    life.tasks.spawn(store.serve(store_listener, life.soft.clone()));

    let backplane = match redis {
        None => Backplane::in_memory(&settings, NODE, memory.clone(), &clock),
        Some(url) => {
            let node = Presentation { name: NODE.to_owned(), address: "http://127.0.0.1:1".to_owned() };
            Backplane::on_redis(&settings, &commands::Config::new(url.to_owned()), node, &life, &clock)?
        }
    };
    let blueprint = Blueprint {
        settings: &settings,
        name: NODE.to_owned(),
        backplane,
        store: settings.store_part(vec![format!("http://{store_address}")]),
        keys: key_origin(keys)?,
    };
    let listener = listener::bind::bind(settings.listen)?;
    let address = listener.local_addr()?;
    let node = Node::start(blueprint, CancellationToken::new(), &life, &clock)?;
    node.serve(listener, Router::new(), None);
    let control = TcpListener::bind("127.0.0.1:0").await?;
    announce(address, control.local_addr()?)?;
    append_as_told(&control, memory).await
}

fn is_secret(keys: &Path) -> bool {
    keys.extension().is_some_and(|extension| extension == "secret")
}

fn key_origin(keys: &Path) -> anyhow::Result<KeyOrigin> {
    if is_secret(keys) {
        return Ok(KeyOrigin::HmacSecretFile(keys.to_owned()));
    }
    let issuer = TokenIssuer::load(keys, crate::tokens::issuer_config(), Arc::new(SystemClock::start()))?;
    Ok(KeyOrigin::Jwks(serde_json::to_string(&issuer.jwks())?))
}

async fn append_as_told(control: &TcpListener, bus: Arc<MemoryBus>) -> anyhow::Result<()> {
    let mut orders = Orders::accept(control).await?;
    let mut appended = 0u64;
    while let Some(order) = orders.next().await? {
        let feed = FeedKey::Dialog(DialogId::parse(&format!("d{}", order.group)).context("an id")?);
        for _ in 0..order.count {
            appended += 1;
            bus.append(&feed, &format!("m:{appended}"), order.json.clone()).await?;
        }
        orders.done().await?;
    }
    Ok(())
}
