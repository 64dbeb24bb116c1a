//! Live delivery: from the servers' sharded channels to the sinks of this node.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::channels::Channels;
use super::company::Company;
pub(crate) use super::company::Config;
use super::link::{LIVE_LINK, Link, Target};
use super::routes::{LinkId, Routes};
use super::times::Times;
use super::topology::Topology;
use crate::adapters::outbound::redis::commands::RedisCommands;
use crate::adapters::outbound::redis::servers::Servers;
use crate::application::ports::bus::{BusError, LiveSink, LiveSubscription};
use crate::application::ports::clock::Clock;
use crate::application::vital::VitalTasks;
use crate::domain::time::UnixMillis;

/// The live channels of a node.
pub(crate) struct PubSub {
    company: Arc<Company>,
}

impl PubSub {
    /// Starts to connect, and keeps a link to every server up in tasks until it is told to stop.
    pub(crate) fn start(
        servers: Servers,
        commands: &RedisCommands,
        config: Config,
        clock: Arc<dyn Clock>,
        tasks: &VitalTasks,
        until: CancellationToken,
    ) -> Self {
        let is_cluster = servers.are_cluster();
        let link = LinkId(0);
        let company = Arc::new(Company {
            servers,
            commands: commands.clone(),
            config,
            channels: Channels::new(if is_cluster { Routes::unknown() } else { Routes::One(link) }),
            times: Times::new(clock),
            probe_prefix: format!("{}:probe:{:016x}:", commands.keys().prefix(), fastrand::u64(..)),
            doubts: Notify::new(),
            lives: AtomicU64::new(0),
        });
        if is_cluster {
            let topology = Topology::new(commands.clone(), company.clone(), tasks.clone(), until.clone());
            tasks.spawn("the watch over the cluster", until, topology.run());
        } else {
            let link = Link::open(link, Target::TheOne, company.clone());
            tasks.spawn(LIVE_LINK, until.clone(), link.run(until));
        }
        Self { company }
    }

    /// Returns once the server has confirmed that it sends the channel.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] when it has not in time.
    pub(crate) async fn subscribe(
        &self,
        channel: &str,
        sink: Arc<dyn LiveSink>,
    ) -> Result<Box<dyn LiveSubscription>, BusError> {
        // From here on, whoever gives up waiting drops it.
        let (subscription, confirmed) = self.company.channels.listen(channel, sink);
        if let Some(confirmed) = confirmed {
            match tokio::time::timeout(self.company.config.subscribe_timeout, confirmed).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(BusError::Unavailable),
            }
        }
        Ok(Box::new(subscription))
    }

    /// See [`Times::now`].
    pub(crate) fn time(&self) -> UnixMillis {
        self.company.times.now()
    }

    /// See [`Times::settled`].
    pub(crate) fn settled(&self) -> UnixMillis {
        self.company.times.settled()
    }

    /// See [`Times::age`].
    pub(crate) fn probe_age(&self) -> Duration {
        self.company.times.age()
    }
}
