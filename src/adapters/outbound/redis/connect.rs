//! How each kind of servers is connected to.

use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisResult, TlsMode,
};
use secrecy::ExposeSecret;

use super::connection::Connection;
use super::servers::{Kind, Servers};
use crate::adapters::outbound::crypto;

/// Asking Sentinels takes a connection and two answers each, and they are asked in parallel.
const SENTINEL_CONNECT_TIMEOUT_FACTOR: u32 = 3;
/// How often a cluster's client asks again by itself, say because a slot has moved.
const CLUSTER_RETRIES_MAX: u32 = 3;
const CLUSTER_RETRY_WAIT_MIN_MILLIS: u64 = 10;
const CLUSTER_RETRY_WAIT_MAX_MILLIS: u64 = 200;

impl Servers {
    /// Connects, over RESP3. What the servers send unasked goes to `pushes`, which is called inline and must not
    /// block. No answer of the returned connection is waited for any longer than the caller wants, except in a
    /// cluster, where a server has at most `response_timeout`.
    ///
    /// # Errors
    /// Those of the client library, and a timeout.
    pub async fn connect(
        &self,
        connect_timeout: Duration,
        response_timeout: Duration,
        pushes: impl AsyncPushSender,
    ) -> RedisResult<Connection> {
        if self.tls {
            crypto::install_default_provider();
        }
        let single = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout(None);
        match &self.kind {
            Kind::Single => {
                let client = Client::open(self.server(&self.hosts[0])?)?;
                let single = single.set_push_sender(pushes);
                let connection = client.get_multiplexed_async_connection_with_config(&single).await?;
                Ok(Connection::Server(connection))
            }
            Kind::Sentinel { master } => {
                let mut sentinels = SentinelClientBuilder::new(
                    self.hosts.iter().map(|host| self.address(host)),
                    master,
                    SentinelServerType::Master,
                )?
                .set_client_to_redis_protocol(ProtocolVersion::RESP3)
                .set_client_to_redis_db(self.database)
                .set_client_to_redis_tcp_settings(tcp())
                .set_client_to_sentinel_tcp_settings(tcp());
                if self.tls {
                    sentinels = sentinels.set_client_to_redis_tls_mode(TlsMode::Secure);
                }
                if let Some(user) = &self.user {
                    sentinels = sentinels.set_client_to_redis_username(user);
                }
                if let Some(password) = &self.password {
                    sentinels = sentinels.set_client_to_redis_password(password.expose_secret());
                }
                let single = single.set_push_sender(pushes);
                let mut sentinels = sentinels.build()?;
                let connecting = sentinels.get_async_connection_with_config(&single);
                let limit = connect_timeout * SENTINEL_CONNECT_TIMEOUT_FACTOR;
                let connection = tokio::time::timeout(limit, connecting).await.map_err(timed_out)??;
                Ok(Connection::Server(connection))
            }
            Kind::Cluster => {
                let nodes =
                    self.hosts.iter().map(|host| self.server(host)).collect::<RedisResult<Vec<_>>>()?;
                let client = cluster(nodes, connect_timeout, response_timeout).push_sender(pushes).build()?;
                let connecting = client.get_async_connection();
                let limit = connect_timeout + response_timeout;
                let connection = tokio::time::timeout(limit, connecting).await.map_err(timed_out)??;
                Ok(Connection::Cluster(connection))
            }
        }
    }

    /// Connects to one server of a cluster, over RESP3, as [`Self::connect`] does elsewhere.
    ///
    /// # Errors
    /// Those of the client library, and a timeout.
    pub async fn connect_to(
        &self,
        host: &(String, u16),
        connect_timeout: Duration,
        pushes: impl AsyncPushSender,
    ) -> RedisResult<MultiplexedConnection> {
        if self.tls {
            crypto::install_default_provider();
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout(None)
            .set_push_sender(pushes);
        Client::open(self.server(host)?)?.get_multiplexed_async_connection_with_config(&config).await
    }

    fn address(&self, (host, port): &(String, u16)) -> ConnectionAddr {
        if self.tls {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.clone(), *port)
        }
    }

    fn server(&self, host: &(String, u16)) -> RedisResult<ConnectionInfo> {
        let mut settings =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(self.database);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.expose_secret());
        }
        let server = self.address(host).into_connection_info()?;
        Ok(server.set_redis_settings(settings).set_tcp_settings(tcp()))
    }
}

fn cluster(
    nodes: Vec<ConnectionInfo>,
    connect_timeout: Duration,
    response_timeout: Duration,
) -> ClusterClientBuilder {
    ClusterClient::builder(nodes)
        .use_protocol(ProtocolVersion::RESP3)
        .tcp_settings(tcp())
        .connection_timeout(connect_timeout)
        .response_timeout(response_timeout)
        .overall_response_timeout(None)
        .retries(CLUSTER_RETRIES_MAX)
        .min_retry_wait(CLUSTER_RETRY_WAIT_MIN_MILLIS)
        .max_retry_wait(CLUSTER_RETRY_WAIT_MAX_MILLIS)
}

/// The client library's default leaves Nagle's algorithm on: 40 ms now and then.
fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn timed_out(_: tokio::time::error::Elapsed) -> redis::RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
