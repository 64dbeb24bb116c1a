//! The bus on Redis: logs in streams, live delivery by sharded Pub/Sub.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::commands::{self, RedisCommands};
use super::live::pubsub::{self, PubSub};
use super::payload;
use super::script::Script;
use super::servers::{InvalidUrl, Servers};
use super::stream_id;
use super::streams::Streams;
use crate::application::ports::bus::{
    Appended, BusError, EVENT_MAX_BYTES, EventBus, EventLog, LiveSink, LiveSubscription, LogSlice, ReadFrom,
};
use crate::application::ports::clock::Clock;
use crate::application::ports::telemetry::measure::{Gauges, Measure};
use crate::application::vital::VitalTasks;
use crate::domain::event::LogPosition;
use crate::domain::ids::FeedKey;
use crate::domain::time::UnixMillis;

/// The script by which Stores append and publish: a public interface, see its own text.
pub const PUBLISH_SCRIPT: &str = include_str!("publish.lua");

/// How the bus is used. Where it is, [`commands::Config`] says.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// About how many entries an append leaves in a log.
    pub log_entries_max: usize,
    /// How long a log lives after its last append.
    pub log_ttl: Duration,
    /// Longest wait for the confirmation of a subscription.
    pub subscribe_timeout: Duration,
    /// How often each live link is probed, from end to end.
    pub probe_every: Duration,
    /// A live link over which nothing has come back for so long is given up and built anew.
    pub silence_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_entries_max: 1000,
            log_ttl: Duration::from_secs(24 * 3600),
            subscribe_timeout: Duration::from_secs(2),
            probe_every: Duration::from_secs(5),
            silence_max: Duration::from_secs(10),
        }
    }
}

/// The bus on Redis (7 or later) or Valkey.
pub struct RedisBus {
    commands: RedisCommands,
    streams: Streams,
    pubsub: PubSub,
    publish: Script,
    config: Config,
}

impl RedisBus {
    /// Starts to connect, and keeps live links up in tasks until it is told to stop. `servers` is what `commands` was
    /// started with.
    ///
    /// # Errors
    /// [`InvalidUrl`]. That Redis does not answer is no error: it may later.
    pub fn start(
        servers: &commands::Config,
        commands: RedisCommands,
        config: Config,
        clock: Arc<dyn Clock>,
        tasks: &VitalTasks,
        until: CancellationToken,
    ) -> Result<Self, InvalidUrl> {
        let links = pubsub::Config {
            connect_timeout: servers.connect_timeout,
            subscribe_timeout: config.subscribe_timeout,
            probe_every: config.probe_every,
            silence_max: config.silence_max,
        };
        let servers = Servers::parse(&servers.url)?;
        let pubsub = PubSub::start(servers, &commands, links, clock, tasks, until);
        Ok(Self {
            streams: Streams::new(commands.clone()),
            pubsub,
            publish: Script::new(PUBLISH_SCRIPT),
            config,
            commands,
        })
    }

    /// How long ago the live links were last proven to bring what is published: that of the worst of them. Normal is
    /// up to `probe_every`; the node is not ready when it exceeds `silence_max`.
    #[must_use]
    pub fn probe_age(&self) -> Duration {
        self.pubsub.probe_age()
    }
}

impl Gauges for RedisBus {
    fn measure(&self, note: &mut dyn FnMut(Measure, f64)) {
        note(Measure::BusProbeAge, self.probe_age().as_secs_f64());
    }
}

#[async_trait]
impl EventLog for RedisBus {
    async fn append(&self, feed: &FeedKey, event_key: &str, json: Bytes) -> Result<Appended, BusError> {
        if json.len() > EVENT_MAX_BYTES {
            return Err(BusError::TooLarge);
        }
        let keys = self.commands.keys();
        let call = self
            .publish
            .call()
            .key(keys.log(feed))
            .key(keys.meta(feed))
            .key(keys.live(feed))
            .arg(&json[..])
            .arg(event_key)
            .arg(self.config.log_entries_max)
            .arg(self.config.log_ttl.as_secs())
            .arg("repeated");
        let (epoch, offset, id, repeated): (String, u64, String, bool) = self.commands.script(&call).await?;
        let at = stream_id::time(&id).ok_or(BusError::Unavailable)?;
        Ok(Appended { position: LogPosition { epoch: epoch.into(), offset }, at, repeated })
    }
}

#[async_trait]
impl EventBus for RedisBus {
    async fn subscribe(
        &self,
        feed: &FeedKey,
        sink: Arc<dyn LiveSink>,
    ) -> Result<Box<dyn LiveSubscription>, BusError> {
        self.pubsub.subscribe(&self.commands.keys().live(feed), sink).await
    }

    async fn read(&self, feed: &FeedKey, from: ReadFrom, limit: usize) -> Result<LogSlice, BusError> {
        self.streams.read(feed, from, limit).await
    }

    async fn heads(&self, feeds: &[FeedKey]) -> Result<Vec<LogPosition>, BusError> {
        self.streams.heads(feeds).await
    }

    async fn publish_ephemeral(&self, feed: &FeedKey, json: Bytes) -> Result<(), BusError> {
        if json.len() > EVENT_MAX_BYTES {
            return Err(BusError::TooLarge);
        }
        let mut publish = redis::cmd("SPUBLISH");
        publish.arg(self.commands.keys().live(feed)).arg(payload::ephemeral(&json));
        self.commands.query(&publish).await
    }

    fn time(&self) -> UnixMillis {
        self.pubsub.time()
    }

    fn settled(&self) -> UnixMillis {
        self.pubsub.settled()
    }

    fn is_up(&self) -> bool {
        !self.commands.is_down()
    }
}
