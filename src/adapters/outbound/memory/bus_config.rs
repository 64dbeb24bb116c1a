//! How much the bus holds, and how long.

use std::time::Duration;

/// Newest entries that a log keeps, unless configured.
pub const LOG_ENTRIES_MAX: usize = 1000;
/// How long a log keeps its entries after the last append, unless configured.
pub const LOG_TTL: Duration = Duration::from_secs(24 * 3600);
/// Bytes that all logs together hold, unless configured. The logs that were appended to least recently shed first.
pub const LOGS_MAX_BYTES: usize = 256 * 1024 * 1024;
/// How long a feed without listeners remembers its epoch and offset after the last append.
pub const FEED_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Feeds that are remembered, unless configured. Over it, those without listeners go that were appended to least
/// recently, and begin a new epoch when they come back.
pub const FEEDS_MAX: usize = 1_000_000;

/// The bounds of the bus.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Newest entries that a log keeps.
    pub log_entries_max: usize,
    /// How long a log keeps its entries after the last append.
    pub log_ttl: Duration,
    /// Bytes that all logs together hold.
    pub logs_max_bytes: usize,
    /// How long a feed without listeners remembers its epoch and offset after the last append.
    pub feed_ttl: Duration,
    /// Feeds that are remembered, beside those that someone listens to.
    pub feeds_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_entries_max: LOG_ENTRIES_MAX,
            log_ttl: LOG_TTL,
            logs_max_bytes: LOGS_MAX_BYTES,
            feed_ttl: FEED_TTL,
            feeds_max: FEEDS_MAX,
        }
    }
}
