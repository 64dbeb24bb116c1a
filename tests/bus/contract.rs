//! What the suite needs of a bus beside its ports.

use std::sync::Arc;

use async_trait::async_trait;
use edgeway::application::ports::bus::{EventBus, EventLog};
use edgeway::domain::ids::FeedKey;

/// A bus with empty logs, for one test alone.
#[async_trait]
pub(crate) trait BusUnderTest: Send + Sync {
    /// Starts it, or takes a part of a shared one that nobody else uses.
    async fn start() -> Self;

    /// The bus as gateways use it.
    fn bus(&self) -> Arc<dyn EventBus>;

    /// The same bus as a Store uses it.
    fn log(&self) -> Arc<dyn EventLog>;

    /// Drops all but the log's newest entries.
    async fn trim(&self, feed: &FeedKey, keep: usize);

    /// Loses everything that is known of the log, its epoch too.
    async fn forget(&self, feed: &FeedKey);

    /// Returns once what is appended next is stamped later than what was appended before.
    async fn let_time_pass(&self);
}
