//! Waiting for other nodes to let sessions go.

use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::domain::ids::SessionId;

/// How long a node that holds a session is waited for. Who does not answer by then is taken for dead: the session is
/// rebuilt from its record as it is.
pub const HANDOVER_MAX: Duration = Duration::from_secs(1);

/// Who waits for which session.
#[derive(Debug, Default)]
pub struct Handovers {
    waiting: Mutex<HashMap<SessionId, Vec<oneshot::Sender<()>>>>,
}

/// A place among those who wait; given up when it is dropped.
pub struct Handover<'h> {
    handovers: &'h Handovers,
    session: SessionId,
    released: oneshot::Receiver<()>,
}

impl Handovers {
    /// Waits from now on.
    #[must_use]
    pub fn expect(&self, session: &SessionId) -> Handover<'_> {
        let (release, released) = oneshot::channel();
        self.waiting.lock().entry(session.clone()).or_default().push(release);
        Handover { handovers: self, session: session.clone(), released }
    }

    /// The session has been let go.
    pub fn released(&self, session: &SessionId) {
        for waiting in self.waiting.lock().remove(session).into_iter().flatten() {
            // Whoever has stopped waiting needs no word.
            let _ = waiting.send(());
        }
    }
}

impl Handover<'_> {
    /// Returns when the session has been let go, or after [`HANDOVER_MAX`]: whether it has.
    pub async fn wait(mut self) -> bool {
        matches!(tokio::time::timeout(HANDOVER_MAX, &mut self.released).await, Ok(Ok(())))
    }
}

impl Drop for Handover<'_> {
    fn drop(&mut self) {
        self.released.close();
        let mut waiting = self.handovers.waiting.lock();
        if let Some(others) = waiting.get_mut(&self.session) {
            others.retain(|other| !other.is_closed());
            if others.is_empty() {
                waiting.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everybody_who_waits_hears_it_and_nobody_waits_for_ever() {
        let session = SessionId::parse("s1").unwrap();
        let other = SessionId::parse("s2").unwrap();
        let handovers = Handovers::default();
        let (first, second) = (handovers.expect(&session), handovers.expect(&session));
        let third = handovers.expect(&other);
        handovers.released(&session);
        assert!(first.wait().await && second.wait().await);
        assert!(!third.wait().await, "nobody let that one go");
        drop(handovers.expect(&other));
        assert!(handovers.waiting.lock().is_empty());
    }
}
