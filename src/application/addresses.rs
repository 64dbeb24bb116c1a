//! What addresses have used up of the rate of connects.

use std::net::IpAddr;
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::limits::Meter;

/// Most addresses of which a node knows what they have used up; whoever is forgotten begins anew.
pub const METERED_ADDRESSES_MAX: usize = 100_000;

/// What counts as one address: all of an IPv6 network, since whoever has one address there has them all (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4([u8; 4]),
    /// A /64.
    V6([u8; 8]),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// What addresses have used up on this node.
pub struct AddressMeters {
    of: Cache<Source, Arc<Meter>>,
}

impl Default for AddressMeters {
    fn default() -> Self {
        Self { of: Cache::new(METERED_ADDRESSES_MAX) }
    }
}

impl AddressMeters {
    /// What this address, or its network, has used up.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Arc<Meter> {
        let source = Source::from(address);
        if let Some(known) = self.of.get(&source) {
            return known;
        }
        let fresh = Arc::new(Meter::default());
        self.of.insert(source, fresh.clone());
        fresh
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_and_a_mapped_address_is_that_of_ipv4() {
        let source = |address: &str| Source::from(address.parse::<IpAddr>().unwrap());
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.7"), source("192.0.2.7"));
        assert_ne!(source("192.0.2.7"), source("192.0.2.8"));
    }

    #[test]
    fn so_many_addresses_are_known_and_no_more() {
        let meters = AddressMeters::default();
        for n in 0..u32::try_from(METERED_ADDRESSES_MAX * 2).unwrap() {
            let _ = meters.find(Ipv4Addr::from(n).into());
        }
        assert!(meters.of.len() <= METERED_ADDRESSES_MAX);
        let address = Ipv4Addr::BROADCAST.into();
        assert!(Arc::ptr_eq(&meters.find(address), &meters.find(address)));
    }
}
