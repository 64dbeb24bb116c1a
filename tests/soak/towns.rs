//! Where the nodes are: one may be gone, and another in its place.

use std::sync::{Arc, Mutex};

use crate::harness::nodes::Nodes;
use crate::harness::stage::Stage;

/// The two nodes of this moment. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Towns {
    nodes: Arc<Mutex<[Stage; 2]>>,
}

impl Towns {
    pub(crate) fn of(nodes: &Nodes) -> Self {
        Self { nodes: Arc::new(Mutex::new([nodes.a.clone(), nodes.b.clone()])) }
    }

    pub(crate) fn get(&self, index: usize) -> Stage {
        self.nodes.lock().unwrap()[index].clone()
    }

    /// From now on this node is there.
    pub(crate) fn replace(&self, index: usize, node: Stage) {
        self.nodes.lock().unwrap()[index] = node;
    }
}
