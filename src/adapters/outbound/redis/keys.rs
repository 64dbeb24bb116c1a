//! The name of every key and channel: a contract with Stores in other languages, with operators, and with older nodes.
//!
//! Braces are hash tags (Redis Cluster specification, "Hash tags"): what one script touches lies in one slot.

use crate::domain::ids::{ClientMessageId, DialogId, FeedKey, SessionId, UserId};

/// Names keys and channels, all with the same prefix.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: Box<str>,
}

impl Keys {
    /// Names that begin with `prefix` and a colon. The prefix must not have braces: they would move the hash tag.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// What all names begin with, without the colon.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Stream: the event log of a feed.
    #[must_use]
    pub fn log(&self, feed: &FeedKey) -> String {
        format!("{}:{{{feed}}}:log", self.prefix)
    }

    /// Hash: `epoch` and last `offset` of a feed's log.
    #[must_use]
    pub fn meta(&self, feed: &FeedKey) -> String {
        format!("{}:{{{feed}}}:meta", self.prefix)
    }

    /// Sharded channel: a feed's events as they come.
    #[must_use]
    pub fn live(&self, feed: &FeedKey) -> String {
        format!("{}:{{{feed}}}:live", self.prefix)
    }

    /// The feed whose [`Self::live`] channel this is, if it is one.
    #[must_use]
    pub fn feed_of_live(&self, channel: &str) -> Option<FeedKey> {
        let tag = channel.strip_prefix(&*self.prefix)?.strip_prefix(":{")?.strip_suffix("}:live")?;
        match tag.split_once(':')? {
            ("d", dialog) => DialogId::parse(dialog).ok().map(FeedKey::Dialog),
            ("u", user) => UserId::parse(user).ok().map(FeedKey::User),
            _ => None,
        }
    }

    /// Hash: who is in a dialog.
    #[must_use]
    pub fn presence(&self, dialog: &DialogId) -> String {
        format!("{}:{{d:{dialog}}}:presence", self.prefix)
    }

    /// Hash: a send under way, or its result.
    #[must_use]
    pub fn sent(&self, user: &UserId, id: &ClientMessageId) -> String {
        format!("{}:{{u:{user}}}:sent:{id}", self.prefix)
    }

    /// String: this user began to type in this dialog a moment ago.
    #[must_use]
    pub fn typing(&self, user: &UserId, dialog: &DialogId) -> String {
        format!("{}:{{d:{dialog}}}:typing:{user}", self.prefix)
    }

    /// Hash: the sessions of a user that count towards `sessions_per_user`.
    #[must_use]
    pub fn sessions(&self, user: &UserId) -> String {
        format!("{}:{{u:{user}}}:sessions", self.prefix)
    }

    /// String: until when (Unix milliseconds) records of the user's sessions are good for nothing.
    #[must_use]
    pub fn forgotten(&self, user: &UserId) -> String {
        format!("{}:{{u:{user}}}:forgotten", self.prefix)
    }

    /// Hash: what a session is rebuilt from.
    #[must_use]
    pub fn session(&self, session: &SessionId) -> String {
        format!("{}:session:{session}", self.prefix)
    }

    /// String: the advertised address of a node.
    #[must_use]
    pub fn node(&self, node: &str) -> String {
        format!("{}:node:{node}", self.prefix)
    }

    /// Hash: the sessions that a node has, and whose they are: what has ended when it dies.
    #[must_use]
    pub fn sessions_of_node(&self, node: &str) -> String {
        format!("{}:node:{node}:sessions", self.prefix)
    }

    /// Sorted set: nodes that have sessions, by when they were heard of last (Unix milliseconds of the server).
    #[must_use]
    pub fn nodes(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    /// String: who holds a ticket, by the ticket's SHA-256: who can read Redis can't attach with what is found there.
    #[must_use]
    pub fn ticket(&self, digest: &str) -> String {
        format!("{}:ticket:{digest}", self.prefix)
    }

    /// Stream: who attached, detached and ended.
    #[must_use]
    pub fn lifecycle(&self) -> String {
        format!("{}:lifecycle", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog(name: &str) -> DialogId {
        DialogId::parse(name).unwrap()
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    #[test]
    fn names_are_what_is_published() {
        let keys = Keys::new("edgeway");
        let feed = FeedKey::Dialog(dialog("d1"));
        let own = FeedKey::User(user("alice"));
        assert_eq!(keys.log(&feed), "edgeway:{d:d1}:log");
        assert_eq!(keys.meta(&feed), "edgeway:{d:d1}:meta");
        assert_eq!(keys.live(&feed), "edgeway:{d:d1}:live");
        assert_eq!(keys.log(&own), "edgeway:{u:alice}:log");
        assert_eq!(keys.meta(&own), "edgeway:{u:alice}:meta");
        assert_eq!(keys.live(&own), "edgeway:{u:alice}:live");
        assert_eq!(keys.presence(&dialog("d1")), "edgeway:{d:d1}:presence");
        assert_eq!(
            keys.sent(&user("alice"), &ClientMessageId::parse("c:1").unwrap()),
            "edgeway:{u:alice}:sent:c:1"
        );
        assert_eq!(keys.session(&SessionId::parse("s1").unwrap()), "edgeway:session:s1");
        assert_eq!(keys.node("n1"), "edgeway:node:n1");
        assert_eq!(keys.lifecycle(), "edgeway:lifecycle");
        assert_eq!(Keys::new("test:7").log(&feed), "test:7:{d:d1}:log");
    }

    #[test]
    fn a_live_channel_tells_its_feed() {
        let keys = Keys::new("edgeway");
        for feed in [FeedKey::Dialog(dialog("u:d:1")), FeedKey::User(user("d:bob@example.com"))] {
            assert_eq!(keys.feed_of_live(&keys.live(&feed)), Some(feed));
        }
        for other in [
            "edgeway:{d:1}:log",
            "other:{d:1}:live",
            "edgeway:{x:1}:live",
            "edgeway:{d:}:live",
            "edgeway:{d}:live",
            "edgeway:d:1:live",
        ] {
            assert_eq!(keys.feed_of_live(other), None, "{other}");
        }
    }
}
