//! Which servers: one, those that Sentinels name, or a cluster; and how each is connected to.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisResult, TlsMode,
};
use secrecy::{ExposeSecret, SecretString};

use super::connection::Connection;
use crate::adapters::outbound::crypto;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Asking Sentinels takes a connection and two answers each, and they are asked in parallel.
const SENTINEL_CONNECT_TIMEOUT_FACTOR: u32 = 3;
/// How often a cluster's client asks again by itself, say because a slot has moved.
const CLUSTER_RETRIES_MAX: u32 = 3;
const CLUSTER_RETRY_WAIT_MIN_MILLIS: u64 = 10;
const CLUSTER_RETRY_WAIT_MAX_MILLIS: u64 = 200;

/// The URL names no servers. The message never repeats it: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Not `redis`, `rediss`, `valkey` or `valkeys`, alone or with `+sentinel` or `+cluster`.
    #[error("the bus URL does not begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")]
    Scheme,
    /// No host, or no port where one should be.
    #[error("the bus URL has no host, or a port that is none")]
    Host,
    /// Several hosts, where only Sentinel and Cluster have several.
    #[error("the bus URL names several servers: say redis+sentinel:// or redis+cluster://")]
    OneHost,
    /// The database is no number.
    #[error("the bus URL ends in something that is no database number")]
    Database,
    /// A Sentinel URL without the name of what it watches over.
    #[error("the bus URL lacks the Sentinel's name of the master: redis+sentinel://host/name")]
    Master,
    /// Anything after `?` or `#`.
    #[error("the bus URL has settings after ? or #, where there are none")]
    Settings,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Single,
    Sentinel { master: String },
    Cluster,
}

/// What the URL says.
#[derive(Debug, Clone)]
pub struct Servers {
    kind: Kind,
    hosts: Vec<(String, u16)>,
    tls: bool,
    user: Option<String>,
    password: Option<SecretString>,
    database: i64,
}

impl Servers {
    /// Reads `redis://[user:password@]host:port[/db]`; `rediss` has TLS; `+sentinel` and `+cluster` take several
    /// hosts with commas in between, and Sentinel's path is `/master[/db]`.
    ///
    /// # Errors
    /// [`InvalidUrl`], which never repeats the URL.
    pub fn parse(url: &SecretString) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = url.expose_secret().split_once("://").ok_or(InvalidUrl::Scheme)?;
        let (protocol, several) = match scheme.split_once('+') {
            None => (scheme, None),
            Some((protocol, several)) => (protocol, Some(several)),
        };
        let tls = match protocol {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(InvalidUrl::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if path.contains(['?', '#']) {
            return Err(InvalidUrl::Settings);
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        let (kind, database) = match several {
            None => (Kind::Single, path),
            Some("cluster") => (Kind::Cluster, path),
            Some("sentinel") => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(InvalidUrl::Master);
                }
                (Kind::Sentinel { master: decoded(master) }, database)
            }
            Some(_) => return Err(InvalidUrl::Scheme),
        };
        let database = if database.is_empty() {
            0
        } else {
            database.parse::<u16>().map_err(|_| InvalidUrl::Database)?
        };
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (credentials.split_once(':').unwrap_or((credentials, "")), hosts),
            None => (("", ""), authority),
        };
        let port = if matches!(kind, Kind::Sentinel { .. }) { SENTINEL_PORT } else { PORT };
        let hosts =
            hosts.split(',').map(|host| host_and_port(host, port)).collect::<Result<Vec<_>, InvalidUrl>>()?;
        if kind == Kind::Single && hosts.len() > 1 {
            return Err(InvalidUrl::OneHost);
        }
        let given = |text: &str| (!text.is_empty()).then(|| decoded(text));
        Ok(Self {
            kind,
            hosts,
            tls,
            user: given(credentials.0),
            password: given(credentials.1).map(SecretString::from),
            database: database.into(),
        })
    }

    /// Whether it is a cluster: several servers, each with a part of the keys.
    #[must_use]
    pub fn are_cluster(&self) -> bool {
        self.kind == Kind::Cluster
    }

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

    /// The servers that the URL names.
    #[must_use]
    pub fn hosts(&self) -> &[(String, u16)] {
        &self.hosts
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

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), InvalidUrl> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(InvalidUrl::Host)?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| InvalidUrl::Host)?,
        None if port.is_empty() => default_port,
        None => return Err(InvalidUrl::Host),
    };
    if host.is_empty() || port == 0 { Err(InvalidUrl::Host) } else { Ok((host.to_owned(), port)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Servers, InvalidUrl> {
        Servers::parse(&SecretString::from(url))
    }

    fn host(name: &str, port: u16) -> (String, u16) {
        (name.to_owned(), port)
    }

    #[test]
    fn a_url_names_one_server() {
        let servers = parse("rediss://me:p%40ss@redis.example:6380/3").unwrap();
        assert_eq!(servers.kind, Kind::Single);
        assert_eq!(servers.hosts, [host("redis.example", 6380)]);
        assert!(servers.tls);
        assert_eq!((servers.user.as_deref(), servers.database), (Some("me"), 3));
        assert_eq!(servers.password.unwrap().expose_secret(), "p@ss");
        let servers = parse("valkey://:p@ss@[::1]").unwrap();
        assert_eq!(servers.hosts, [host("::1", 6379)]);
        assert_eq!((servers.user, servers.tls), (None, false));
        assert_eq!(servers.password.unwrap().expose_secret(), "p@ss");
    }

    #[test]
    fn a_url_names_sentinels_and_what_they_watch_over() {
        let servers = parse("redis+sentinel://a,b:1/main/2").unwrap();
        assert_eq!(servers.kind, Kind::Sentinel { master: "main".to_owned() });
        assert_eq!(servers.hosts, [host("a", 26379), host("b", 1)]);
        assert_eq!(servers.database, 2);
    }

    #[test]
    fn a_url_names_some_servers_of_a_cluster() {
        let servers = parse("valkeys+cluster://u:p@a:1,[::1]:2,c").unwrap();
        assert!(servers.are_cluster());
        assert_eq!(servers.hosts, [host("a", 1), host("::1", 2), host("c", 6379)]);
    }

    #[test]
    fn what_names_no_server_is_refused_in_words_that_do_not_repeat_it() {
        for (url, why) in [
            ("s3cret", InvalidUrl::Scheme),
            ("http://s3cret", InvalidUrl::Scheme),
            ("redis+s3cret://a", InvalidUrl::Scheme),
            ("redis://", InvalidUrl::Host),
            ("redis://:s3cret@", InvalidUrl::Host),
            ("redis://a:s3cret", InvalidUrl::Host),
            ("redis://a:0", InvalidUrl::Host),
            ("redis://[::1", InvalidUrl::Host),
            ("redis+cluster://a,", InvalidUrl::Host),
            ("redis://a,b", InvalidUrl::OneHost),
            ("redis://a/s3cret", InvalidUrl::Database),
            ("redis+sentinel://a", InvalidUrl::Master),
            ("redis://a?password=s3cret", InvalidUrl::Settings),
            ("rediss://a/0#insecure", InvalidUrl::Settings),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error, why, "{url}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        assert!(!format!("{:?}", parse("redis://:s3cret@a").unwrap()).contains("s3cret"));
    }
}
