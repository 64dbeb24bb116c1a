//! Lanes: commands that must reach the Store in the order they came.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::domain::ids::DialogId;

/// What commands line up for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lane {
    /// What changes the session itself.
    Session,
    /// Batches of commands.
    Batch,
    /// Sends to a dialog.
    Dialog(DialogId),
}

/// One queue per lane; a lane without anybody in it takes no room. There are as many at once as a session has commands
/// under way: few enough to be looked through.
#[derive(Debug, Default)]
pub struct Lanes {
    tails: Mutex<Vec<Tail>>,
}

/// The last in a lane.
#[derive(Debug)]
struct Tail {
    lane: Lane,
    left: oneshot::Receiver<Left>,
}

impl Tail {
    /// Whether everybody has left.
    fn is_empty(&mut self) -> bool {
        loop {
            match self.left.try_recv() {
                Ok(Left { ahead: Some(ahead) }) => self.left = ahead,
                Ok(Left { ahead: None }) | Err(TryRecvError::Closed) => return true,
                Err(TryRecvError::Empty) => return false,
            }
        }
    }
}

/// Said by whoever leaves a lane: whom the next one must still wait for, if the leaver had not had its turn.
#[derive(Debug)]
struct Left {
    ahead: Option<oneshot::Receiver<Left>>,
}

/// A place in a lane, taken at once and in order. The lane goes on when it is dropped.
#[derive(Debug)]
pub struct Turn {
    lanes: Arc<Lanes>,
    lane: Lane,
    ahead: Option<oneshot::Receiver<Left>>,
    leave: Option<oneshot::Sender<Left>>,
}

impl Lanes {
    /// Lines up behind everybody who is in the lane now.
    #[must_use]
    pub fn enter(self: &Arc<Self>, lane: Lane) -> Turn {
        let (leave, left) = oneshot::channel();
        let mut tails = self.tails.lock();
        let ahead = match tails.iter_mut().find(|tail| tail.lane == lane) {
            Some(tail) => Some(std::mem::replace(&mut tail.left, left)),
            None => {
                tails.push(Tail { lane: lane.clone(), left });
                None
            }
        };
        drop(tails);
        Turn { lanes: self.clone(), lane, ahead, leave: Some(leave) }
    }
}

impl Turn {
    /// Waits until everybody ahead has left.
    pub async fn wait(&mut self) {
        while let Some(ahead) = self.ahead.as_mut() {
            self.ahead = ahead.await.ok().and_then(|left| left.ahead);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut tails = self.lanes.tails.lock();
        if let Some(leave) = self.leave.take() {
            // One who leaves before its turn tells the next one of those ahead. Nobody behind: nobody to tell.
            let _ = leave.send(Left { ahead: self.ahead.take() });
        }
        tails.retain_mut(|tail| tail.lane != self.lane || !tail.is_empty());
        if tails.is_empty() {
            *tails = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lane(dialog: &str) -> Lane {
        Lane::Dialog(DialogId::parse(dialog).unwrap())
    }

    async fn is_waiting(turn: &mut Turn) -> bool {
        tokio::time::timeout(Duration::from_millis(1), turn.wait()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_is_left_in_the_order_it_was_entered_and_others_are_free() {
        let lanes = Arc::new(Lanes::default());
        let (a, b) = (lane("a"), lane("b"));
        let mut first = lanes.enter(a.clone());
        let mut second = lanes.enter(a.clone());
        let mut third = lanes.enter(a.clone());
        let mut other = lanes.enter(b);
        first.wait().await;
        other.wait().await;
        assert!(is_waiting(&mut second).await);
        drop(first);
        second.wait().await;
        assert!(is_waiting(&mut third).await);
        drop(second);
        third.wait().await;
        drop((third, other));
        assert!(lanes.tails.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_leaves_without_a_turn_lets_nobody_overtake() {
        let lanes = Arc::new(Lanes::default());
        let a = lane("a");
        let first = lanes.enter(a.clone());
        let second = lanes.enter(a.clone());
        let mut third = lanes.enter(a.clone());
        drop(second);
        assert!(is_waiting(&mut third).await, "the first is still in the lane");
        drop(first);
        third.wait().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_whose_last_ones_left_without_a_turn_takes_no_room() {
        let lanes = Arc::new(Lanes::default());
        let a = lane("a");
        let first = lanes.enter(a.clone());
        drop((lanes.enter(a.clone()), lanes.enter(a.clone())));
        assert_eq!(lanes.tails.lock().len(), 1, "the first is still in the lane");
        drop(first);
        assert!(lanes.tails.lock().is_empty());
    }
}
