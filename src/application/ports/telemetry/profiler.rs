//! Where the node's CPU time goes.

use std::time::Duration;

use async_trait::async_trait;

/// How a profile is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileFormat {
    /// For `go tool pprof` and all that reads the same.
    Pprof,
    /// A picture, SVG.
    Flamegraph,
}

/// Why there is no profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// One is being taken already.
    #[error("a profile is being taken")]
    Busy,
    /// The system doesn't let it.
    #[error("no profile can be taken")]
    Failed,
}

/// Takes profiles of the process it runs in.
#[async_trait]
pub trait Profiler: Send + Sync {
    /// Looks for so long at what the process does. Ends at once when nobody waits for it any more.
    async fn profile_cpu(&self, during: Duration, format: ProfileFormat) -> Result<Vec<u8>, ProfileError>;
}
