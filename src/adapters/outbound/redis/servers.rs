//! Which servers: one, those that Sentinels name, or a cluster.

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

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
pub(super) enum Kind {
    Single,
    Sentinel { master: String },
    Cluster,
}

/// What the URL says.
#[derive(Debug, Clone)]
pub struct Servers {
    pub(super) kind: Kind,
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) database: i64,
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

    /// The servers that the URL names.
    #[must_use]
    pub fn hosts(&self) -> &[(String, u16)] {
        &self.hosts
    }
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
