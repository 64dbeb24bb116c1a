//! A client that writes at a steady pace, and repeats what was not answered until it is.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::harness::attach::Attach;
use crate::harness::client::{Client, send};
use crate::harness::line::Line;
use crate::harness::names::unique;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;
use crate::harness::user::User;
use crate::oracle::Oracle;

/// How often it writes.
const STEP: Duration = Duration::from_millis(40);
/// Sends that are not answered yet; above it writes nothing new.
const WAITING_MAX: usize = 400;

/// What all writers of a crowd share.
#[derive(Default)]
pub(crate) struct Tally {
    /// Sends that were accepted.
    pub(crate) accepted: AtomicUsize,
    /// Answers that asked to come again.
    pub(crate) put_off: AtomicUsize,
}

/// A writer.
pub(crate) struct Writer {
    pub(crate) user: User,
    pub(crate) nodes: [Stage; 2],
    pub(crate) dialogs: Vec<String>,
    /// Messages of one step.
    pub(crate) each_step: usize,
    pub(crate) oracle: Oracle,
    pub(crate) tally: Arc<Tally>,
}

struct Pending {
    id: String,
    dialog: String,
}

/// What is to be sent (again), and what waits for an answer, by `ref`.
#[derive(Default)]
struct Desk {
    due: VecDeque<Pending>,
    waiting: HashMap<String, Pending>,
}

impl Writer {
    /// Writes until it is over, and then until all is answered.
    pub(crate) async fn write(mut self, mut until: tokio::sync::watch::Receiver<bool>) {
        let mut desk = Desk::default();
        let mut client = self.attach().await;
        let mut step = tokio::time::interval(STEP);
        step.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0;
        loop {
            let over = *until.borrow_and_update();
            if over && desk.due.is_empty() && desk.waiting.is_empty() {
                return;
            }
            let ended = tokio::select! {
                _ = step.tick() => {
                    if !over && desk.waiting.len() + desk.due.len() < WAITING_MAX {
                        for _ in 0..self.each_step {
                            let dialog = self.dialogs[round % self.dialogs.len()].clone();
                            desk.due.push_back(Pending { id: unique("c"), dialog });
                            round += 1;
                        }
                    }
                    !self.send_due(&mut client, &mut desk).await
                }
                answer = client.answer_or_end() => match answer {
                    Ok(answer) => {
                        self.take(&answer, &mut desk);
                        false
                    }
                    Err(_) => true,
                },
            };
            if ended {
                desk.due.extend(desk.waiting.drain().map(|(_, pending)| pending));
                self.nodes.swap(0, 1);
                client = self.attach().await;
            }
        }
    }

    async fn attach(&mut self) -> Client {
        loop {
            let user = self.nodes[0].user(&self.user);
            if let Ok(client) = user.try_attach(Transport::Ws, Attach::new()).await {
                return client;
            }
            self.nodes.swap(0, 1);
            tokio::time::sleep(STEP).await;
        }
    }

    async fn send_due(&self, client: &mut Client, desk: &mut Desk) -> bool {
        let Line::Ws(line) = client.line() else { unreachable!("it was attached by WebSocket") };
        while let Some(pending) = desk.due.pop_front() {
            let mut command = send(&pending.dialog, &pending.id, &format!("text of {}", pending.id));
            command["ref"] = json!(unique("r"));
            self.oracle.sending(self.user.id(), &pending.id, &pending.dialog);
            let sent = line.try_send_json(&command).await;
            desk.waiting.insert(command["ref"].as_str().unwrap_or_default().to_owned(), pending);
            if !sent {
                return false;
            }
        }
        true
    }

    fn take(&self, answer: &Value, desk: &mut Desk) {
        let Some(pending) = answer["ref"].as_str().and_then(|its_ref| desk.waiting.remove(its_ref)) else {
            return self.oracle.fault(format!("an answer to nothing: {answer}"));
        };
        if answer["type"] == "ok" {
            self.tally.accepted.fetch_add(1, Ordering::Relaxed);
        }
        if !self.oracle.answered(self.user.id(), &pending.id, answer) {
            self.tally.put_off.fetch_add(1, Ordering::Relaxed);
            desk.due.push_back(pending);
        } else if answer["type"] != "ok" {
            self.oracle.fault(format!("a send was refused for good: {answer}"));
        }
    }
}
