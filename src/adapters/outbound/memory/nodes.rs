//! The directory of a node that has no others beside it.

use async_trait::async_trait;

use crate::application::ports::bus::BusError;
use crate::application::ports::nodes::{NodeDirectory, Owner};
use crate::domain::ids::SessionId;

/// There is nobody else: no session is anywhere but here.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOtherNodes;

#[async_trait]
impl NodeDirectory for NoOtherNodes {
    async fn address(&self, _: &str) -> Result<Option<String>, BusError> {
        Ok(None)
    }

    async fn owner(&self, _: &SessionId) -> Result<Option<Owner>, BusError> {
        Ok(None)
    }
}
