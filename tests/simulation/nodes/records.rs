//! Session records as all nodes share them, with the rule of the script on Redis: a later generation wins, if it is of the
//! record that lies there; of the same one, the node that has it; of its own saves, the latest.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use edgeway::application::ports::bus::BusError;
use edgeway::application::ports::nodes::{NodeDirectory, Owner};
use edgeway::application::ports::records::{Saved, SessionRecords};
use edgeway::domain::ids::{SessionId, UserId};
use edgeway::session::snapshot::SessionSnapshot;
use parking_lot::Mutex;

use super::gate::Gate;
use super::mutant::Mutant;

enum Record {
    Kept { snapshot: Box<SessionSnapshot>, node: String },
    Ended,
}

/// What lies on the servers.
#[derive(Default)]
pub(crate) struct SharedRecords(Mutex<BTreeMap<SessionId, Record>>);

impl SharedRecords {
    fn owner(&self, session: &SessionId) -> Option<(String, UserId, u32)> {
        match self.0.lock().get(session)? {
            Record::Kept { snapshot, node } => {
                Some((node.clone(), snapshot.user_id.clone(), snapshot.acknowledged.epoch))
            }
            Record::Ended => None,
        }
    }
}

/// Which nodes there are.
pub(crate) type Directory = Mutex<BTreeMap<String, Arc<Gate>>>;

/// One node's look at the directory. A node that is cut off has not been heard of for a while.
pub(crate) struct NodeView {
    pub(crate) shared: Arc<SharedRecords>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) gate: Arc<Gate>,
}

#[async_trait]
impl NodeDirectory for NodeView {
    async fn address(&self, node: &str) -> Result<Option<String>, BusError> {
        let known = async {
            let directory = self.directory.lock();
            directory.get(node).filter(|gate| gate.is_up()).map(|_| format!("http://{node}"))
        };
        self.gate.call(known).await
    }

    async fn owner(&self, session: &SessionId) -> Result<Option<Owner>, BusError> {
        let Some((node, user_id, generation)) = self.gate.call(async { self.shared.owner(session) }).await?
        else {
            return Ok(None);
        };
        let address = self.address(&node).await?;
        Ok(Some(Owner { node, user_id, generation, address }))
    }
}

/// One node's access.
pub(crate) struct NodeRecords {
    pub(crate) shared: Arc<SharedRecords>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) node: String,
    pub(crate) mutant: Option<Mutant>,
}

#[async_trait]
impl SessionRecords for NodeRecords {
    async fn save(&self, snapshot: &SessionSnapshot) -> Result<Saved, BusError> {
        let write = async {
            let mut records = self.shared.0.lock();
            let mut late = false;
            let superseded = match records.get(&snapshot.id) {
                None => false,
                Some(Record::Ended) => true,
                Some(Record::Kept { snapshot: known, node }) => {
                    let (held, claimed) = (known.acknowledged.epoch, snapshot.acknowledged.epoch);
                    let own = *node == self.node;
                    late = claimed == held && own && known.revision > snapshot.revision;
                    let read_before = snapshot.based_on == Some((held, known.revision));
                    claimed < held || (!own && (claimed == held || !read_before))
                }
            };
            if late {
                return Saved::Written;
            }
            if superseded && self.mutant != Some(Mutant::NoGenerationCheck) {
                return Saved::Superseded;
            }
            let kept = Record::Kept { snapshot: Box::new(snapshot.clone()), node: self.node.clone() };
            records.insert(snapshot.id.clone(), kept);
            Saved::Written
        };
        self.gate.call(write).await
    }

    async fn load(&self, session: &SessionId) -> Result<Option<SessionSnapshot>, BusError> {
        let read = async {
            match self.shared.0.lock().get(session) {
                Some(Record::Kept { snapshot, .. }) => Some((**snapshot).clone()),
                Some(Record::Ended) | None => None,
            }
        };
        self.gate.call(read).await
    }

    async fn forget_user(&self, user: &UserId) -> Result<(), BusError> {
        let forget = async {
            for record in self.shared.0.lock().values_mut() {
                if matches!(record, Record::Kept { snapshot, .. } if snapshot.user_id == *user) {
                    *record = Record::Ended;
                }
            }
        };
        self.gate.call(forget).await
    }

    async fn remove(&self, session: &SessionId, user: &UserId) -> Result<(), BusError> {
        let remove = async {
            let mut records = self.shared.0.lock();
            let own = match records.get(session) {
                Some(Record::Kept { snapshot, .. }) => snapshot.user_id == *user,
                Some(Record::Ended) => false,
                None => true,
            };
            if own {
                records.insert(session.clone(), Record::Ended);
            }
        };
        self.gate.call(remove).await
    }
}
