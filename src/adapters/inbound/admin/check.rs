//! What a node needs to serve.

use std::fmt;
use std::sync::Arc;

/// One condition without which the node should get no traffic.
#[derive(Clone)]
pub struct Check {
    /// Its name in the answer.
    pub name: &'static str,
    /// What is wrong, if something is. Asked often: it must not block.
    pub failing: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Check {
    /// A check by this name.
    #[must_use]
    pub fn new(name: &'static str, failing: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { name, failing: Arc::new(failing) }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}
