//! Which link a channel belongs to.

use crc16::{State, XMODEM};

/// Hash slots of a cluster.
pub(super) const SLOTS: usize = 16384;

/// One link to one server, for as long as the server has a part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LinkId(pub(super) u64);

/// Where channels lie.
#[derive(Debug, Clone)]
pub(super) enum Routes {
    /// All at one server.
    One(LinkId),
    /// By hash slot; `None` while nobody knows whose a slot is.
    Slots(Box<[Option<LinkId>]>),
}

impl Routes {
    /// A cluster of which nothing is known yet.
    pub(super) fn unknown() -> Self {
        Self::Slots(vec![None; SLOTS].into())
    }

    /// The link of a channel.
    pub(super) fn link(&self, channel: &str) -> Option<LinkId> {
        match self {
            Self::One(link) => Some(*link),
            Self::Slots(slots) => slots[usize::from(slot(channel))],
        }
    }

    /// Forgets whose a slot is.
    pub(super) fn forget(&mut self, slot: u16) {
        if let Self::Slots(slots) = self
            && let Some(link) = slots.get_mut(usize::from(slot))
        {
            *link = None;
        }
    }
}

/// The hash slot of a key or channel (Redis Cluster specification, "Key distribution model" and "Hash tags").
pub(super) fn slot(name: &str) -> u16 {
    let tag = name
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    let hashed = tag.unwrap_or(name).as_bytes();
    State::<XMODEM>::calculate(hashed) % SLOTS as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // The check value of CRC-16/XMODEM, and what `CLUSTER KEYSLOT` says.
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12182);
        assert_eq!(slot("edgeway:{foo}:log"), slot("foo"));
        assert_eq!(slot("a{}{foo}"), State::<XMODEM>::calculate(b"a{}{foo}") % 16384);
        assert_eq!(slot("a{{foo}}"), slot("{foo"));
    }

    #[test]
    fn a_forgotten_slot_has_no_link_until_it_is_known_again() {
        let link = LinkId(1);
        let mut routes = Routes::Slots(vec![Some(link); SLOTS].into());
        assert_eq!(routes.link("foo"), Some(link));
        routes.forget(12182);
        assert_eq!((routes.link("foo"), routes.link("bar")), (None, Some(link)));
        routes.forget(u16::MAX);
        assert_eq!(Routes::unknown().link("bar"), None);
    }
}
