//! What a node needs to serve.

use std::fmt;

/// One condition without which the node should get no traffic.
pub struct Check {
    /// Its name in the answer.
    pub name: &'static str,
    /// What is wrong, if something is. Asked often: it must not block.
    pub failing: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Check {
    /// A check by this name.
    #[must_use]
    pub fn new(name: &'static str, failing: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { name, failing: Box::new(failing) }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}
