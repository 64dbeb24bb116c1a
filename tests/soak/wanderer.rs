//! A client that does what clients do: sends and reads, changes transport and node, loses its network, leaves without a
//! word, and comes back for what it has missed.

mod parting;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::desk::Desk;
use crate::diary::Diary;
use crate::harness::attach::Attach;
use crate::harness::client::{Client, Place};
use crate::harness::ending::Ended;
use crate::harness::line::Line;
use crate::harness::names::unique;
use crate::harness::transport::Transport;
use crate::harness::user::User;
use crate::oracle::{Oracle, Witness};
use crate::post::{Posted, post};
use crate::rng::Rng;
use crate::towns::Towns;
use crate::traffic::{Phase, Tally};

/// Before it tries again.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How often it does something.
const ACT_EVERY: Duration = Duration::from_millis(250);
/// Sends that are not answered yet; above it writes nothing new.
const WAITING_MAX: usize = 20;
/// How long it stays with one connection, in milliseconds.
const STAY_MS: (u64, u64) = (200, 3000);
/// How long it does not read at times.
const DOZE_MS: (u64, u64) = (100, 1500);
/// A line that polls takes a number for each poll: so many at the most.
const NUMBERS_OF_A_LINE: u64 = 10_000;

/// What all clients share.
#[derive(Clone)]
pub(crate) struct Company {
    pub(crate) dialogs: Arc<[String]>,
    pub(crate) towns: Towns,
    pub(crate) oracle: Oracle,
    pub(crate) tally: Arc<Tally>,
    pub(crate) diary: Diary,
}

/// One client.
pub(crate) struct Wanderer {
    name: String,
    user: User,
    company: Company,
    witness: Witness,
    rng: Rng,
    /// At which node it is.
    town: usize,
    /// The session that it goes on with.
    place: Option<Place>,
    /// Of the last attach. A poll that is late must not count as newer than what came after it.
    number: u64,
    desk: Desk,
    posts: JoinSet<Posted>,
    /// The newest message of each dialog.
    newest: HashMap<String, u64>,
    /// Connections that it knows nothing of any more, and until when they lie there.
    lost: Vec<(Instant, Client)>,
    /// Whether it was told to stay.
    stays: bool,
}

impl Wanderer {
    pub(crate) fn new(name: String, user: &User, company: Company, rng: Rng) -> Self {
        Self {
            witness: company.oracle.witness(&name, user.id()),
            name,
            user: user.clone(),
            company,
            rng,
            town: 0,
            place: None,
            number: 0,
            desk: Desk::default(),
            posts: JoinSet::new(),
            newest: HashMap::new(),
            lost: Vec::new(),
            stays: false,
        }
    }

    /// Wanders until it is told to stay, stays until it is told to leave, and leaves.
    pub(crate) async fn wander(mut self, mut phase: watch::Receiver<Phase>) {
        loop {
            let Some(client) = self.arrive(&mut phase).await else { return };
            let Some(client) = self.stay(client, &mut phase).await else { continue };
            let now = *phase.borrow_and_update();
            match now {
                Phase::Wander => self.part(client).await,
                Phase::Stay => {}
                Phase::Leave => return self.leave(client).await,
            }
        }
    }

    /// Attaches somewhere, by something. Nothing, if it is time to leave.
    async fn arrive(&mut self, phase: &mut watch::Receiver<Phase>) -> Option<Client> {
        while *phase.borrow_and_update() != Phase::Leave {
            let on = Transport::ALL[self.rng.index(3)];
            // Over connections of its own, as another device.
            let here = self.company.towns.get(self.town).afresh();
            let (user, attach) = match &self.place {
                Some(place) => (here.user(&place.user), place.again()),
                None => {
                    self.number = 0;
                    let dialogs: Vec<&str> = self.company.dialogs.iter().map(String::as_str).collect();
                    (here.user(&self.user), Attach::new().dialogs(&dialogs))
                }
            };
            self.number += NUMBERS_OF_A_LINE;
            match user.try_attach(on, attach.number(self.number)).await {
                Ok(client) => {
                    if self.place.is_some() && matches!(client.resume(), "new" | "expired") {
                        self.company.oracle.fault(format!("a session was forgotten: {client}"));
                    }
                    self.note(&format!("{} by {on} at {}", client.resume(), here.server().address()));
                    self.company.tally.attached(on, client.resume());
                    self.witness.welcomed(client.welcome());
                    return Some(client);
                }
                Err(ended) => {
                    self.note(&format!("not taken by {on} at {}: {ended:?}", here.server().address()));
                    self.refused(&ended, on);
                    self.town = 1 - self.town;
                    sleep(BACK_OFF).await;
                }
            }
        }
        None
    }

    /// A node that is gone says nothing, and what a node says must be worth trying again.
    fn refused(&self, ended: &Ended, on: Transport) {
        if ended.error.as_ref().is_some_and(|error| error["retryable"] != true) {
            let place = self.place.as_ref().map(|place| (&place.session, &place.cursor));
            self.company.oracle.fault(format!("{} by {on} at {place:?}: {ended:?}", self.user.id()));
        }
    }

    /// Reads and acts until it has been here for a while. Nothing, if the connection ended before.
    async fn stay(&mut self, mut client: Client, phase: &mut watch::Receiver<Phase>) -> Option<Client> {
        let until = Instant::now() + self.draw(STAY_MS);
        let mut acts = interval(ACT_EVERY);
        acts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Leave {
                return Some(client);
            }
            if now == Phase::Stay && !self.stays {
                self.stays = true;
                self.company.tally.staying.fetch_add(1, Ordering::Relaxed);
            }
            tokio::select! {
                heard = client.event_or_answer_or_end() => match heard {
                    Ok(frame) => {
                        if let Line::Poll(line) = client.line() && line.take_rebuilt() {
                            self.rebuilt_between_polls();
                        }
                        self.take(&frame);
                    }
                    Err(ended) => {
                        self.note(&format!("the line ended: {ended:?}"));
                        self.hung_up(&mut client);
                        self.place = Some(client.cut());
                        return None;
                    }
                },
                Some(posted) = self.posts.join_next() => self.take_posted(posted.unwrap()),
                _ = acts.tick() => self.act(&mut client, now).await,
                () = sleep_until(until), if now == Phase::Wander => return Some(client),
                changed = phase.changed() => changed.unwrap(),
            }
        }
    }

    fn rebuilt_between_polls(&mut self) {
        self.note("rebuilt between two polls");
        self.company.tally.attached(Transport::Poll, "rebuilt");
        self.witness.welcomed(&json!({ "resume": "rebuilt" }));
    }

    fn take(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap_or_default() {
            "ok" | "error" | "pong" => {
                let its_ref = frame["ref"].as_str().unwrap_or_default();
                self.desk.answered(its_ref, frame, self.user.id(), &self.company.oracle, &self.company.tally);
            }
            kind => {
                self.witness.event(frame);
                if kind == "message_new" {
                    let dialog = frame["dialog_id"].as_str().unwrap_or_default().to_owned();
                    self.newest.insert(dialog, frame["message"]["seq"].as_u64().unwrap_or_default());
                }
            }
        }
    }

    fn take_posted(&mut self, posted: Posted) {
        let Company { oracle, tally, .. } = &self.company;
        match posted {
            Ok((its_ref, Some(reply))) => self.desk.answered(&its_ref, &reply, self.user.id(), oracle, tally),
            Ok((its_ref, None)) => self.desk.unanswered(&its_ref, self.user.id(), oracle),
            Err(late) => {
                oracle.fault(late);
                // Which one is of no interest any more.
                self.desk.all_unanswered(self.user.id(), oracle);
            }
        }
    }

    async fn act(&mut self, client: &mut Client, phase: Phase) {
        self.lost.retain(|(until, _)| Instant::now() < *until);
        if phase == Phase::Wander {
            match self.rng.below(100) {
                0..60 if self.desk.len() < WAITING_MAX => {
                    let dialog = self.any_dialog();
                    self.desk.write(&dialog, &self.company.tally);
                }
                60..95 => {
                    let aside = self.aside();
                    self.say(client, aside).await;
                }
                95.. => sleep(self.draw(DOZE_MS)).await,
                _ => {}
            }
        }
        while let Some(command) = self.desk.next(self.user.id(), &self.company.oracle) {
            self.say(client, command).await;
        }
    }

    fn any_dialog(&mut self) -> String {
        self.company.dialogs[self.rng.index(self.company.dialogs.len())].clone()
    }

    /// A command whose answer is of no interest.
    fn aside(&mut self) -> Value {
        self.company.tally.asides.fetch_add(1, Ordering::Relaxed);
        let dialog = self.any_dialog();
        let mut aside = match self.rng.below(4) {
            0 => json!({ "type": "typing", "dialog_id": dialog, "state": "started" }),
            1 => json!({ "type": "history", "dialog_id": dialog, "limit": 20 }),
            2 => json!({ "type": "status", "state": if self.rng.percent(50) { "away" } else { "online" } }),
            _ => {
                let seq = self.newest.get(&dialog).copied().unwrap_or(1);
                json!({ "type": "read_upto", "dialog_id": dialog, "seq": seq })
            }
        };
        aside["ref"] = json!(unique("aside"));
        aside
    }

    /// On the line, or by a request of its own. If the line has just ended, that is what is heard next.
    async fn say(&mut self, client: &mut Client, command: Value) {
        if let Line::Ws(line) = client.line() {
            line.try_send_json(&command).await;
        } else {
            self.posts.spawn(post(client.user().clone(), client.session().to_owned(), command));
        }
    }

    fn note(&self, what: &str) {
        self.company.diary.note(&self.name, what);
    }

    fn draw(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_millis(self.rng.between(least, most))
    }
}
