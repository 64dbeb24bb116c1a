//! Where a request comes from, and how often that may be.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::application::admission::Connect;
use crate::application::gateway::Gateway;
use crate::domain::error::Refusal;
use crate::domain::ids::SessionId;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Most proxies in a row that are followed back.
const PROXIES_MAX: usize = 32;

/// The client's address, in every request's extensions: the peer's, or whom trusted proxies say they speak for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

/// The networks of proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    /// In CIDR notation.
    pub networks: Vec<IpNet>,
}

impl TrustedProxies {
    /// The first address, from here outwards, that is no trusted proxy's. What stands further out in `X-Forwarded-For` is
    /// what that one says, and it may say anything. An entry that is no address ends the search where it is.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        let entries = values.flat_map(|value| value.to_str().unwrap_or("").rsplit(','));
        for entry in entries.take(PROXIES_MAX) {
            let Some(address) = address(entry.trim()) else { break };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// `192.0.2.7`, `2001:db8::1`, either with a port: proxies differ.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// Puts [`ClientIp`] into the extensions of a request.
pub fn identify_client(proxies: &TrustedProxies, request: &mut Request) {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        let client = proxies.client(peer.ip(), request.headers());
        request.extensions_mut().insert(ClientIp(client));
    }
}

/// Whether a client may attach now, as far as its address is concerned. `relayed`: another node, or somebody who says so,
/// handed the request on: where the session is here, that node has counted it, and many clients come from its address.
///
/// # Errors
/// `rate_limited`.
pub fn admit_attach(
    gateway: &Gateway,
    client: Option<ClientIp>,
    session: Option<&str>,
    relayed: bool,
) -> Result<(), Refusal> {
    match session {
        None => admit_connect(gateway, client, Connect::Begin),
        Some(session) if relayed && is_here(gateway, session) => Ok(()),
        Some(_) => admit_connect(gateway, client, Connect::GoOn),
    }
}

/// The same, for whoever knows what it is.
///
/// # Errors
/// `rate_limited`.
pub fn admit_connect(gateway: &Gateway, client: Option<ClientIp>, connect: Connect) -> Result<(), Refusal> {
    let Some(ClientIp(address)) = client else { return Ok(()) };
    gateway.admit_address(address, connect)
}

fn is_here(gateway: &Gateway, session: &str) -> bool {
    SessionId::parse(session).is_ok_and(|id| gateway.sessions().find(&id).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client by a peer and what stands in `X-Forwarded-For`, line by line.
    fn client(trusted: &[&str], peer: &str, lines: &[&'static str]) -> String {
        let networks = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, http::HeaderValue::from_static(line));
        }
        TrustedProxies { networks }.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        assert_eq!(client(&[], "192.0.2.7", &["203.0.113.1"]), "192.0.2.7");
        assert_eq!(client(&["10.0.0.0/8"], "192.0.2.7", &["203.0.113.1"]), "192.0.2.7");
    }

    #[test]
    fn the_rightmost_that_is_not_trusted_is_the_client() {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"];
        assert_eq!(client(&trusted, "10.0.0.9", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(client(&trusted, "10.0.0.9", &["6.6.6.6, 203.0.113.1 , 10.0.0.8"]), "203.0.113.1");
        assert_eq!(client(&trusted, "10.0.0.9", &["6.6.6.6", "203.0.113.1", "10.0.0.8"]), "203.0.113.1");
        assert_eq!(client(&trusted, "2001:db8:1::5", &["2001:db8:2::1"]), "2001:db8:2::1");
        assert_eq!(client(&trusted, "::ffff:10.0.0.9", &["[2001:db8:2::1]:4711"]), "2001:db8:2::1");
        assert_eq!(client(&trusted, "10.0.0.9", &["203.0.113.1:80"]), "203.0.113.1");
    }

    #[test]
    fn without_a_word_of_a_client_the_outermost_proxy_is_it() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(client(&trusted, "10.0.0.9", &[]), "10.0.0.9");
        assert_eq!(client(&trusted, "10.0.0.9", &["10.0.0.8"]), "10.0.0.8");
        for nonsense in ["unknown", "", "203.0.113.1, ", "203.0.113.1, _hidden", "203.0.113.1, 1.2.3"] {
            assert_eq!(client(&trusted, "10.0.0.9", &[nonsense]), "10.0.0.9", "{nonsense}");
        }
        let loops = "10.0.0.8,".repeat(1000) + "10.0.0.8";
        assert_eq!(client(&trusted, "10.0.0.9", &[loops.leak()]), "10.0.0.8");
    }
}
